"""Contestants that do the same work, each in a process of its own, timed in turn.

A machine's speed changes from minute to minute; a ratio of times that were taken in
turn does not. Separate processes keep the memory and the threads of the contestants
apart. A turn is two runs, of which the second counts: the first one restores the caches
and memory that the previous contestant took, as nothing takes them in real use.
"""

import dataclasses
import importlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from mixit_jax.devices.memory import process_peak


@dataclasses.dataclass
class Task:
  """Work that is ready to be timed.

  Attributes:
    run: does the work once and returns when it is finished.
    device_memory: peak bytes on the accelerator so far; None for a device without
      memory of its own.
  """

  run: Callable[[], None]
  device_memory: Callable[[], int | None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Contestant:
  """One side of a contest.

  Attributes:
    name: in the table.
    maker: "module:function" that makes the `Task`.
    arguments: of that function.
    environment: variables of its process.
  """

  name: str
  maker: str
  arguments: Mapping[str, Any]
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Result:
  """Measurements of a contestant.

  Attributes:
    name: of the contestant.
    seconds: of each timed run.
    cpu_seconds: that the process computed in each timed run, in all threads.
    seconds_to_prepare: building and compiling, and the first run.
    memory: peak bytes of the accelerator, or of the whole process on CPU.
    problem: why it could not take part, e.g. not enough memory.
  """

  name: str
  seconds: list[float] = dataclasses.field(default_factory=list)
  cpu_seconds: list[float] = dataclasses.field(default_factory=list)
  seconds_to_prepare: float = 0.0
  memory: int = 0
  problem: str = ""

  @property
  def median(self) -> float:
    """Median seconds of a run."""
    return statistics.median(self.seconds)

  @property
  def spread(self) -> float:
    """Largest minus smallest time, relative to the median."""
    return (max(self.seconds) - min(self.seconds)) / self.median


def compete(
  contestants: Sequence[Contestant], rounds: int, apart: bool = False
) -> list[Result]:
  """Time all contestants.

  Args:
    contestants: the sides of the contest.
    rounds: timed runs of each.
    apart: whether one ends before the next begins, for an accelerator whose memory
      does not hold two. Else all stay ready and take turns.

  Returns:
    the results, in the order of the contestants.
  """
  if apart:
    return [compete([one], rounds)[0] for one in contestants]
  with ExitStack() as stack:
    players = [stack.enter_context(_player(one)) for one in contestants]
    ready = [player for player in players if not player.result.problem]
    for _ in range(rounds):
      for player in ready:
        if len(ready) > 1:
          player.ask("settle")
        player.ask("run")
    for player in ready:
      player.ask("memory")
    return [player.result for player in players]


class _Player:
  """A contestant's process, as seen from the referee."""

  def __init__(self, name: str, process: Any, pipe: Any):
    self.result = Result(name)
    self._process, self._pipe = process, pipe

  def ask(self, what: str) -> None:
    """Let the process do something and note the answer."""
    if self.result.problem:
      return
    try:
      self._pipe.send(what)
      kind, value = self._pipe.recv()
    except (EOFError, BrokenPipeError):
      self._process.join()
      self.result.problem = f"process ended with {self._process.exitcode}"
      return
    if kind == "problem":
      self.result.problem = value
    elif what == "prepare":
      self.result.seconds_to_prepare = value[0]
    elif what == "run":
      self.result.seconds.append(value[0])
      self.result.cpu_seconds.append(value[1])
    elif what == "memory":
      self.result.memory = value


@contextmanager
def _player(contestant: Contestant) -> Iterator[_Player]:
  context = multiprocessing.get_context("spawn")
  here, there = context.Pipe()
  process = context.Process(target=_serve, args=(contestant, there))
  process.start()
  there.close()
  player = _Player(contestant.name, process, here)
  player.ask("prepare")
  try:
    yield player
  finally:
    here.close()
    process.join(timeout=30)
    if process.is_alive():
      process.kill()


def _serve(contestant: Contestant, pipe: Any) -> None:
  """Do what the referee asks, in the contestant's process, until the pipe closes."""
  os.environ.update(contestant.environment)
  task: Task | None = None
  while True:
    try:
      what = pipe.recv()
    except EOFError:
      return
    try:
      begun = time.perf_counter(), time.process_time()
      if what == "memory":
        assert task is not None
        pipe.send(("value", task.device_memory() or process_peak()))
        continue
      if task is None:
        module, function = contestant.maker.split(":")
        task = getattr(importlib.import_module(module), function)(
          **contestant.arguments
        )
      task.run()
      ended = time.perf_counter(), time.process_time()
      pipe.send(("value", (ended[0] - begun[0], ended[1] - begun[1])))
    except Exception as error:  # a lack of memory has many names
      pipe.send(("problem", f"{type(error).__name__}: {error}".splitlines()[0][:300]))
      return
