"""Worker processes of a Dask cluster: one that is started here, or one that exists.

A worker that dies (killed for its memory, crashed in a decoder) is replaced, and its
item is tried again. Nothing waits for ever: where no worker is left, a local cluster is
started anew, and of one that exists a line says so after a while.
"""

import contextlib
import itertools
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import dask.config
from dask.distributed import (
  CancelledError,
  Client,
  KilledWorker,
  LocalCluster,
  WorkerPlugin,
  wait,
)
from distributed.comm import CommClosedError

from mixit_jax.errors import UserError, one_line

Item = TypeVar("Item")
Result = TypeVar("Result")

# Not MALLOC_TRIM_THRESHOLD_, which Dask sets to return memory at once: that costs more
# than the work on arrays. One thread each, since there is a process per processor.
_WORKER_ENVIRONMENT = dict.fromkeys(
  ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), 1
)
_PATIENCE = 1.0  # s between two looks at the workers
# A worker that is away for this long is given up, and none replaces it.
LOST_WORKER = "1000h"
NO_WORKER_LOCAL = 120.0  # s without any until a local cluster is started anew
NO_WORKER_REMOTE = 600.0  # s without any until a line says so
CONNECTING = 30.0  # s
_MOST_CLUSTERS = 5  # that are started here in a row without any item done


class _NoWorkersError(Exception):
  """No worker has been there for long, or one died while a cluster was started."""


class IgnoreInterrupts(WorkerPlugin):
  """Plugin that leaves Ctrl-C, which all processes of a terminal get, to the driver."""

  def setup(self, worker: object) -> None:
    """Run in each worker."""
    del worker
    with contextlib.suppress(ValueError):  # not in the main thread
      signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_in_cluster(
  function: Callable[[Item], Result],
  items: Sequence[Item],
  workers: int,
  max_crashes: int,
  scheduler: str | None,
) -> Iterator[tuple[int, Result]]:
  """Yield (index, result) as the items are done; see `engine.run`."""
  # Its import has just set a level of its own.
  logging.getLogger("distributed").setLevel(logging.CRITICAL)
  pending, failures = dict(enumerate(items)), 0
  while pending:
    before = len(pending)
    try:
      with _client(workers, scheduler) as client:
        for index, result in _run(function, pending, client, max_crashes, scheduler):
          del pending[index]
          yield index, result
    except ModuleNotFoundError as error:
      raise UserError(
        f"a worker lacks a module ({error}): all need the same installation as here"
      ) from error
    except (_NoWorkersError, CancelledError, CommClosedError) as error:
      if scheduler is not None:
        raise UserError(_lost(scheduler, error)) from error
      failures = 1 if len(pending) < before else failures + 1
      if failures == _MOST_CLUSTERS:
        raise UserError(
          f"all {workers} worker processes died, {failures} times in a row; is there"
          " enough memory for so many? Try fewer (--workers)"
        ) from error


def _lost(scheduler: str, error: Exception) -> str:
  """Say what is missing of a cluster that exists."""
  if isinstance(error, _NoWorkersError):
    return (
      f"--scheduler={scheduler}: no worker for {NO_WORKER_REMOTE:.0f} s; start"
      " workers and run the same command again"
    )
  return (
    f"the scheduler at {scheduler} is gone ({one_line(error)}); run the same command"
    " again"
  )


@contextlib.contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
  """Connect to a cluster, or start one."""
  settings = {
    # One item in progress and none queued, so that a death costs one item only.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
    "distributed.admin.tick.limit": "1h",  # decoders block the interpreter for long
    "distributed.scheduler.allowed-failures": 0,  # deaths are counted here
    "distributed.deploy.lost-worker-timeout": LOST_WORKER,
  }
  with dask.config.set(settings), contextlib.ExitStack() as stack:
    if scheduler is None:
      cluster = stack.enter_context(_start(workers))
      client = stack.enter_context(Client(cluster))
      client.register_plugin(IgnoreInterrupts())
    else:
      try:
        client = stack.enter_context(Client(scheduler, timeout=CONNECTING))
      except (OSError, ValueError, TimeoutError) as error:
        raise UserError(
          f"--scheduler={scheduler}: cannot be reached ({one_line(error)}); expected"
          " the address of a Dask scheduler, such as tcp://10.0.0.1:8786"
        ) from error
    yield client


def _start(workers: int) -> LocalCluster:
  """Start a cluster of processes."""
  try:
    return LocalCluster(
      n_workers=workers,
      threads_per_worker=1,
      processes=True,
      host="127.0.0.1",
      dashboard_address="127.0.0.1:0",  # its default port may be taken
      memory_limit=None,
      silence_logs=logging.CRITICAL,
    )
  except RuntimeError as error:  # a worker died before it was there
    raise _NoWorkersError from error


def _run(
  function: Callable[[Item], Result],
  pending: dict[int, Item],
  client: Any,
  max_crashes: int,
  scheduler: str | None,
) -> Iterator[tuple[int, Result]]:
  """Hand items to the workers, a few at a time, and yield what they return."""
  waiting = iter(list(pending))
  running: dict[Any, int] = {}  # by future
  deaths: dict[int, int] = {}
  limit = NO_WORKER_LOCAL if scheduler is None else NO_WORKER_REMOTE
  last_seen = time.monotonic()

  def submit(index: int) -> None:
    running[client.submit(function, pending[index], pure=False)] = index

  while True:
    threads = sum(client.nthreads().values())
    if threads:
      last_seen = time.monotonic()
    elif time.monotonic() - last_seen > limit:
      raise _NoWorkersError
    for index in itertools.islice(waiting, max(2 * threads - len(running), 0)):
      submit(index)
    if not running and len(pending) == 0:
      return
    if running:
      with contextlib.suppress(TimeoutError):
        wait(list(running), timeout=_PATIENCE, return_when="FIRST_COMPLETED")
    else:
      time.sleep(_PATIENCE)
    for future in [future for future in running if future.done()]:
      index = running.pop(future)
      try:
        result = future.result()
      except KilledWorker as error:
        # A cluster that exists has tried the item some times already.
        deaths[index] = deaths.get(index, 0) + 1
        if deaths[index] > max_crashes:
          raise UserError(
            f"{pending[index]}: its worker process died again and again; is there"
            " enough memory for so many workers? Try fewer (--workers)"
          ) from error
        submit(index)
      else:
        yield index, result
