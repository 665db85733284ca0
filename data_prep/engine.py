"""Run one function over many items in worker processes, with a progress bar.

The functions need not know about it. Workers are processes of a local Dask cluster:
one that dies (killed for its memory, crashed in a decoder) is replaced and its item is
tried again. With one worker everything runs in this process, without Dask.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from mixit_jax.errors import UserError, missing_extra

Item = TypeVar("Item")
Result = TypeVar("Result")

_SECONDS_BETWEEN_LINES = 30.0
# Not MALLOC_TRIM_THRESHOLD_, which Dask sets to return memory at once: that costs more
# than the work on arrays. One thread each, since there is a process per processor.
_WORKER_ENVIRONMENT = dict.fromkeys(
  ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), 1
)


def default_workers() -> int:
  """Return the number of processors that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def run(
  function: Callable[[Item], Result],
  items: Sequence[Item],
  workers: int,
  label: str,
  max_crashes: int = 3,
) -> list[Result]:
  """Apply a function to every item.

  Args:
    function: a function of an importable module; its item and its result must be
      picklable. It may run more than once for an item whose worker died.
    items: what to apply it to.
    workers: number of processes; 1 runs everything in this one.
    label: what is being done, for the progress bar.
    max_crashes: how often a worker may die while it holds an item.

  Returns:
    the results in the order of the items.

  Raises:
    UserError: Dask is needed and missing, or an item killed its worker more often
      than `max_crashes`.
    Exception: the function raised it; the remaining items are left out.
  """
  workers = min(workers, len(items))
  if workers <= 1:
    return list(_show_progress(map(function, items), len(items), label))
  results: dict[int, Result] = {}
  completed = _run_in_cluster(function, items, workers, max_crashes)
  for index, result in _show_progress(completed, len(items), label):
    results[index] = result
  return [results[index] for index in range(len(items))]


def _run_in_cluster(
  function: Callable[[Item], Result],
  items: Sequence[Item],
  workers: int,
  max_crashes: int,
) -> Iterator[tuple[int, Result]]:
  """Yield (index, result) as the items are done."""
  try:
    import dask.config
    from dask.distributed import (
      Client,
      KilledWorker,
      LocalCluster,
      WorkerPlugin,
      as_completed,
    )
  except ImportError as error:
    purpose = f"{workers} worker processes (--workers=1 takes none)"
    raise UserError(missing_extra(error, "dask", "prep", purpose)) from error

  # Its import has just set a level of its own.
  logging.getLogger("distributed").setLevel(logging.CRITICAL)

  class IgnoreInterrupts(WorkerPlugin):
    """Plugin that leaves Ctrl-C, which all processes of a terminal get, to this one."""

    def setup(self, worker: object) -> None:
      signal.signal(signal.SIGINT, signal.SIG_IGN)

  settings = {
    "distributed.scheduler.allowed-failures": max_crashes,
    # One item in progress and none queued, so that a death costs one item only.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
    "distributed.admin.tick.limit": "1h",  # decoders block the interpreter for long
  }
  with (
    dask.config.set(settings),
    LocalCluster(
      n_workers=workers,
      threads_per_worker=1,
      processes=True,
      host="127.0.0.1",
      dashboard_address="127.0.0.1:0",  # its default port may be taken
      memory_limit=None,
      silence_logs=logging.CRITICAL,
    ) as cluster,
    Client(cluster) as client,
  ):
    client.register_plugin(IgnoreInterrupts())
    futures = client.map(function, items, pure=False)
    indices = {future.key: index for index, future in enumerate(futures)}
    for future in as_completed(futures):
      index = indices[future.key]
      try:
        yield index, future.result()
      except KilledWorker as error:
        raise UserError(
          f"{items[index]}: its worker process died {max_crashes + 1} times; is there"
          " enough memory for so many workers? Try fewer (--workers)"
        ) from error


def _show_progress(
  results: Iterable[Result], total: int, label: str
) -> Iterator[Result]:
  """Show a bar on a terminal, and a line now and then elsewhere."""
  if sys.stderr.isatty():
    yield from tqdm(results, label, total, dynamic_ncols=True)
    return
  last = time.monotonic()
  for done, result in enumerate(results, 1):
    yield result
    if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
      last = time.monotonic()
      print(f"{label}: {done} of {total}", file=sys.stderr, flush=True)
