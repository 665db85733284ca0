"""Which task is done next, and by how many workers at a time."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from experiments.small_scale.grid import Task
from experiments.small_scale.results import Results
from experiments.small_scale.work import StoppedError, Worker
from mixit_jax.errors import UserError


def run_tasks(
  tasks: Sequence[Task], worker: Worker, results: Results, workers: int
) -> list[str]:
  """Do tasks in order, each as soon as what it needs is finished.

  A task that fails takes those that need it along; all others are done.

  Args:
    tasks: not yet finished; what they need is among them or finished.
    worker: does them.
    results: get a row of every task that measures something.
    workers: tasks at a time.

  Returns:
    why tasks failed, a line for each.
  """
  waiting = list(tasks)
  unfinished = {task.name for task in tasks}
  failed: list[str] = []
  running: dict[Future[None], Task] = {}
  begun = time.monotonic()

  def do(task: Task) -> None:
    measured = worker.do(task)
    if measured is not None:
      results.add(task, measured)

  with ThreadPoolExecutor(workers) as pool:
    while True:
      for task in list(waiting):
        if len(running) >= workers or worker.stopping.is_set():
          break
        if not unfinished.intersection(task.needs):
          waiting.remove(task)
          logging.info("%s: started", task.name)
          running[pool.submit(do, task)] = task
      if not running:
        return failed + [
          f"{t.name}: not done, it needs one that failed"
          for t in waiting
          if not worker.stopping.is_set()
        ]
      # Now and then, so that a signal is handled.
      done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
      for future in done:
        task = running.pop(future)
        try:
          future.result()
        except StoppedError:
          continue
        except (UserError, OSError) as error:
          failed.append(str(error))
          logging.error("%s", error)
          continue
        unfinished.discard(task.name)
        minutes = (time.monotonic() - begun) / 60
        logging.info(
          "%s: finished; %d left, %.0f minutes", task.name, len(unfinished), minutes
        )
