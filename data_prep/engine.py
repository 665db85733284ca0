"""Run one function over many items in worker processes, and show the progress.

The functions need not know about it. With one worker everything runs in this process,
without Dask; else in a Dask cluster, see `cluster`.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from data_prep.progress import Progress
from data_prep.resources import default_workers
from mixit_jax.errors import UserError, missing_extra

__all__ = ["default_workers", "run"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(
  function: Callable[[Item], Result],
  items: Sequence[Item],
  workers: int,
  label: str,
  max_crashes: int = 3,
  scheduler: str | None = None,
) -> list[Result]:
  """Apply a function to every item.

  Args:
    function: a function of an importable module; its item and its result must be
      picklable. It may run more than once for an item whose worker died.
    items: what to apply it to.
    workers: number of processes; 1 runs everything in this one.
    label: what is being done, for the progress.
    max_crashes: how often a worker may die while it holds an item.
    scheduler: address of the scheduler of a Dask cluster that exists, which is used
      with all of its workers; None starts `workers` processes here.

  Returns:
    the results in the order of the items.

  Raises:
    UserError: Dask is needed and missing, no worker is left and none comes, or an item
      killed its worker more often than `max_crashes`.
    Exception: the function raised it; the remaining items are left out.
  """
  progress = Progress(label, items)
  workers = min(workers, len(items))
  if not items or (workers <= 1 and scheduler is None):
    here = enumerate(map(function, items))
    return [result for _, result in progress.follow(here)]
  try:
    from data_prep.cluster import run_in_cluster
  except ImportError as error:
    purpose = f"{workers} worker processes (--workers=1 takes none)"
    if scheduler is not None:
      purpose = "workers of a cluster (--scheduler)"
    raise UserError(missing_extra(error, "dask", "prep", purpose)) from error
  completed = run_in_cluster(function, items, workers, max_crashes, scheduler)
  results = dict(progress.follow(completed))
  return [results[index] for index in range(len(items))]
