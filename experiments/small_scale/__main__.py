"""Run a grid of small trainings, or go on with it, and report what it measured.

    python -m experiments.small_scale --out=runs/evidence

The grid is a file of experiments/small_scale/grids. Finished rows lie in
OUT/results.json; results.md and figures follow from it. After an interruption of any
kind the same command continues. Workers share the processors; each takes 1.5 GiB of
memory.

    python -m experiments.small_scale --out=runs/evidence/own --grid=own \
      --songs=DIR --unlabeled=DIR

asks the same of your own music.
"""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from data_prep.command import positive_float, positive_int
from data_prep.resources import processors
from experiments.small_scale.grid import Task, read_grid
from experiments.small_scale.report import write_report
from experiments.small_scale.results import Results
from experiments.small_scale.schedule import run_tasks
from experiments.small_scale.work import Worker
from mixit_jax.console import FAILED, STOPPED, expand_home, run_command
from mixit_jax.errors import UserError
from mixit_jax.lock import FolderLock

GRIDS = Path(__file__).with_name("grids")


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m experiments.small_scale",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  flag = parser.add_argument
  flag("--out", type=Path, required=True, help="folder of data, runs and results")
  flag("--grid", default="rung1", help="name of a grid, or a TOML file (%(default)s)")
  flag("--songs", type=_folder, metavar="DIR", help="your own: train/, valid/, test/")
  flag("--unlabeled", type=_folder, metavar="DIR", help="your own music without stems")
  flag(
    "--only",
    action="append",
    default=[],
    metavar="PATTERN",
    help="only tasks whose name matches, and what they need: labels-*-1-0; repeatable",
  )
  flag("--workers", type=positive_int, default=2, help="trainings at a time (2)")
  flag(
    "--minutes",
    type=positive_float,
    help="stop after this long, as after Ctrl-C, where a machine is lent for a while",
  )
  flag("--list", action="store_true", help="only list the tasks and what is finished")
  flag("--report", action="store_true", help="only write the report again")
  return parser.parse_args(expand_home(arguments))


def main(arguments: list[str] | None = None) -> int:
  """Run the grid; return 0 if all is measured."""
  flags = parse_flags(arguments)
  grid = read_grid(find_grid(flags.grid))
  tasks = choose(grid.tasks, flags.only)
  results = Results(flags.out / "results.json")
  own = {"songs": flags.songs, "unlabeled": flags.unlabeled}
  given = {name: folder for name, folder in own.items() if folder}
  threads = max(1, processors() // flags.workers)
  worker = Worker(flags.out.resolve(), grid.songs, given, threads)
  waiting = [t for t in tasks if not (worker.is_prepared(t) or results.has(t))]
  if flags.list:
    for task in tasks:
      print(f"{'waits   ' if task in waiting else 'finished'}  {task.name}")
    return 0
  if flags.report:
    write_report(grid, results.rows, flags.out)
    return 0
  with FolderLock(flags.out):
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    signal.signal(signal.SIGINT, lambda *_: worker.stop())
    if flags.minutes:
      timer = threading.Timer(60 * flags.minutes, worker.stop)
      timer.daemon = True
      timer.start()
    failed = run_tasks(waiting, worker, results, flags.workers)
    write_report(grid, results.rows, flags.out)
  for line in failed:
    logging.error("%s", line)
  if worker.stopping.is_set():
    logging.info("stopped: the same command goes on")
    return STOPPED
  return FAILED if failed else 0


def _folder(text: str) -> Path:
  folder = Path(text)
  if not folder.is_dir():
    raise UserError(f"{folder}: no such folder")
  return folder


def find_grid(name: str) -> Path:
  """Return the file of a grid."""
  file = GRIDS / f"{name}.toml"
  return file if file.exists() else Path(name)


def choose(tasks: Sequence[Task], patterns: Sequence[str]) -> list[Task]:
  """Return the tasks that match a pattern and what they need, in order.

  Raises:
    UserError: a pattern matches none.
  """
  by_name = {task.name: task for task in tasks}
  chosen: set[str] = set()

  def take(name: str) -> None:
    chosen.add(name)
    for need in by_name[name].needs:
      take(need)

  for pattern in patterns or ["*"]:
    matching = [name for name in by_name if fnmatch(name, pattern)]
    if not matching:
      raise UserError(f"--only={pattern}: no task has such a name; see --list")
    for name in matching:
      take(name)
  return [task for task in tasks if task.name in chosen]


if __name__ == "__main__":
  sys.exit(run_command(main))
