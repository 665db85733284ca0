"""Cases that run one after the other, apart from who asks, until a deadline.

A case that runs out of memory, crashes its process or hangs takes no other case with
it. What a case returns is there as soon as it has ended.
"""

import gc
import importlib
import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mixit_jax.errors import one_line

Result = dict[str, Any]

# A problem may be told in as many characters.
_LONGEST = 400


class Case(NamedTuple):
  """Something to find out.

  Attributes:
    name: of the case.
    function: "module:function" that returns a dict of plain values.
    arguments: of that function.
  """

  name: str
  function: str
  arguments: Mapping[str, Any]

  @property
  def module(self) -> str:
    """Module of the function. Neighbors of one module share a process."""
    return self.function.partition(":")[0]


def run_apart(cases: Sequence[Case], deadline: float) -> Iterator[tuple[Case, Result]]:
  """Run cases in other processes and yield what each returns when it is there.

  A case that raises, or whose process dies, yields {"problem": why}; the others go on,
  in a new process where need be. Every result has the `seconds` that it took.

  Args:
    cases: to run, in this order.
    deadline: by `time.monotonic`. What has not ended by then is ended, without result.
  """
  for _, group in itertools.groupby(cases, lambda case: case.module):
    waiting = list(group)
    while waiting and time.monotonic() < deadline:
      for case, result in _run_in_one_process(waiting, deadline):
        waiting.remove(case)
        yield case, result


def _run_in_one_process(
  cases: Sequence[Case], deadline: float
) -> Iterator[tuple[Case, Result]]:
  """Yield results until the process dies or the deadline is reached."""
  context = multiprocessing.get_context("spawn")
  here, there = context.Pipe()
  process = context.Process(target=_serve, args=(cases, there))
  process.start()
  there.close()
  try:
    for case in cases:
      begun = time.monotonic()
      if not here.poll(max(0.0, deadline - begun)):
        return
      try:
        result = here.recv()
      except (EOFError, ConnectionResetError):
        process.join()
        problem = f"the process ended with {process.exitcode}"
        yield case, {"problem": problem, "seconds": _since(begun)}
        return
      yield case, result
  finally:
    here.close()  # the process ends by that, whatever it does
    process.join(timeout=10)
    if process.is_alive():
      process.kill()
      process.join()


def _serve(cases: Sequence[Case], pipe: Any) -> None:
  """Run cases and send what they return."""
  # Beside the accelerator, what is compared with the CPU needs one.
  platforms = os.environ.get("JAX_PLATFORMS", "")
  if platforms and "cpu" not in platforms:
    os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"
  threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
  for case in cases:
    begun = time.monotonic()
    try:
      function = getattr(
        importlib.import_module(case.module), case.function.partition(":")[2]
      )
      result = function(**case.arguments)
    except Exception as error:  # a lack of memory has many names
      kind = type(error).__name__
      result = {"problem": f"{kind}: {one_line(error)}"[:_LONGEST]}
    gc.collect()  # the memory of devices, too, for the next one
    pipe.send({**result, "seconds": _since(begun)})


def _end_with(pipe: Any) -> None:
  """End this process when the other end of the pipe is gone, also by kill -9."""
  try:
    pipe.recv()
  except (EOFError, OSError):
    os._exit(1)


def _since(begun: float) -> float:
  return round(time.monotonic() - begun, 1)
