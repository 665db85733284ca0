"""The day a GPU or TPU is lent: everything worth knowing of it, in one command.

    python -m benchmarks.accelerator [--minutes=9] [--only=WORDS] [--tiny]

Is what it computes right? Then: how fast are training and separation as shipped, beside
the forecast and the peak; which kernel, which form of the convolution, which remat is
the fastest; do batches arrive in time; how fast is the PyTorch baseline. The most
important comes first. What is found is stored when it is there: started again, the
command goes on with what is missing, then tries again what failed. Ends with 1 where a
check or a case has failed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.apart import Case, Result, run_apart
from benchmarks.report import REPOSITORY, RESULTS, facts_of_devices, result_file, show
from mixit_jax.console import run_command
from mixit_jax.errors import UserError
from mixit_jax.files import check_file_writable, write_json
from mixit_jax.training.record import commit_of


def main(arguments: Sequence[str] | None = None) -> int:
  """Run the command; return 1 where something failed, 130 after Ctrl-C."""
  options = _options(arguments)
  return run_command(lambda: measure(options), "what was found is stored")


def measure(options: argparse.Namespace) -> int:
  """Run what is missing; return 1 where something failed.

  Raises:
    UserError: results cannot be read or written.
  """
  deadline = time.monotonic() + 60 * options.minutes
  facts = facts_of_devices()
  tiny = options.tiny or facts["platform"] == "cpu"
  file = result_file("accelerator-tiny" if tiny else "accelerator", facts, options.out)
  check_file_writable(file)
  results = _stored(file)
  cases = list(plan(facts["platform"], tiny))
  asked = _asked(cases, results, options.only)
  print(f"{facts['devices']} x {facts['device']}: {len(asked)} cases, stored in {file}")
  commit, found = commit_of(REPOSITORY), set()
  with tempfile.TemporaryDirectory() as cache:
    # New, so that times to compile are those without a cache. Runs find the steps in it
    # that were compiled before them.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    for case, result in run_apart(asked, deadline):
      found.add(case.name)
      results[case.name] = result | {"commit": commit, "date": facts["date"]}
      stored = {c.name: results[c.name] for c in cases if c.name in results}
      write_json(file, {"benchmark": "accelerator", **facts, "cases": stored})
      _show(case, result)
  return _summarize(asked, results, found)


def plan(platform: str, tiny: bool) -> Iterator[Case]:
  """Yield all cases, the most important first.

  Neighbors of one module share a process: starting it on a GPU takes seconds.
  """
  small = {"tiny": True} if tiny else {}

  def check(name: str) -> Case:
    shortened = tiny and name in ("attention", "convolution")
    choices = {"small": True} if shortened else {}
    function = "benchmarks.correctness:check"
    return Case(f"check {name}", function, {"name": name} | choices)

  def contest(function: str, *parts: str, **arguments: Any) -> Case:
    name = " ".join([function, *parts])
    return Case(name, f"benchmarks.contests:{function}", {**arguments, **small})

  def step(size: str, stage: str = "pretrain", **model: str) -> Case:
    words = [f"{key}={value}" for key, value in model.items()]
    return contest("step", stage, size, *words, stage=stage, size=size, **model)

  yield from map(check, ("vectors", "precision", "step"))
  yield contest("products")
  yield step("medium")
  yield contest("attention", "medium", size="medium")
  yield contest("convolution", "medium", size="medium")
  yield contest("separation", "medium", size="medium")
  yield contest("transfer", "small", size="small")
  yield step("small")
  yield contest("inputs", "small", size="small")
  yield step("large")
  yield step("medium", scan_blocks="on" if platform == "gpu" else "off")
  yield step("medium", remat="block")
  yield step("medium", remat="none")
  yield step("medium", stage="finetune")
  yield from map(check, ("attention", "convolution", "restart"))
  yield contest("separation", "small", size="small")
  yield contest("separation", "large", size="large")
  yield step("medium", attention="xla")
  yield step("medium", convolution="taps")
  yield step("medium", convolution="columns")
  yield contest("objective", "medium", size="medium")
  yield step("small", stage="finetune")
  yield step("large", stage="finetune")
  baseline = {"size": "small", "seconds": 0.5, "batch": 1} if tiny else {}
  yield Case("baseline medium", "benchmarks.train_step:contest", baseline)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--minutes", type=float, default=9.0, help="when to stop (default %(default)s)"
  )
  parser.add_argument(
    "--only",
    default="",
    help="only cases whose names contain one of these words, also where they are "
    "stored, for example --only=check,remat",
  )
  parser.add_argument(
    "--tiny",
    action="store_true",
    help="sizes that any machine computes, to try the command; always on a CPU",
  )
  parser.add_argument(
    "--out", type=Path, default=RESULTS, help="folder of results (default %(default)s)"
  )
  return parser.parse_args(arguments)


def _stored(file: Path) -> dict[str, Result]:
  """Read what earlier calls have found."""
  if not file.exists():
    return {}
  try:
    return json.loads(file.read_text())["cases"]
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f"{file} is damaged; move it away to begin anew") from error


def _asked(cases: Sequence[Case], results: dict[str, Result], only: str) -> list[Case]:
  """Return the cases to run: those named, or those that are missing, then failed."""
  if only:
    words = only.split(",")
    return [case for case in cases if any(word in case.name for word in words)]
  missing = [case for case in cases if case.name not in results]
  failed = [case for case in cases if "problem" in results.get(case.name, ())]
  return missing + failed


def _show(case: Case, result: Result) -> None:
  title = f"{case.name} ({result['seconds']:g} s)"
  if "problem" in result:
    print(f"\n{title}: {result['problem']}", flush=True)
    return
  show(title, result["rows"])
  sys.stdout.flush()


def _summarize(
  asked: Sequence[Case], results: dict[str, Result], found: set[str]
) -> int:
  """Name what went wrong and what no time was left for."""
  names = [case.name for case in asked]
  failed = [name for name in names if "problem" in results.get(name, ())]
  wrong = [name for name, result in results.items() if not result.get("passed", True)]
  missing = [name for name in names if name not in found]
  for what, which in (
    ("beyond their tolerances", wrong),
    ("failed", failed),
    ("no time was left for", missing),
  ):
    if which:
      print(f"\n{what}: {', '.join(which)}")
  return int(bool(wrong or failed))


if __name__ == "__main__":
  sys.exit(main())
