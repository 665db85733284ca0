"""Results of a contest as a table and as JSON."""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.turns import Result
from mixit_jax.files import write_json

REPOSITORY = Path(__file__).parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "numpy")
_PROBE = "import json; from benchmarks.report import facts; print(json.dumps(facts()))"


def facts() -> dict[str, Any]:
  """Return the machine, the versions and the date."""
  import jax  # not before the contestants' processes have ended

  versions = {}
  for package in _PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  device = jax.devices()[0]
  kind = _processor() if device.platform == "cpu" else device.device_kind
  return {
    "platform": device.platform,
    "device": kind,
    "devices": 1 if device.platform == "cpu" else jax.device_count(),
    "cores": len(os.sched_getaffinity(0)),
    "versions": {"python": platform.python_version(), **versions},
    "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
  }


def facts_of_devices() -> dict[str, Any]:
  """Ask a new process for these facts: this one must not take the devices' memory."""
  found = subprocess.run(
    [sys.executable, "-c", _PROBE],
    cwd=REPOSITORY,
    check=True,
    stdout=subprocess.PIPE,
    text=True,
  )
  return json.loads(found.stdout.splitlines()[-1])


def rows(
  results: Sequence[Result], work: float, peak: float | None
) -> list[dict[str, Any]]:
  """Make one row for each contestant.

  Args:
    results: of the contest; the first one is the package's own.
    work: floating point operations of one run.
    peak: operations per second of a matrix product measured in the same contest.
  """
  table: list[dict[str, Any]] = []
  for result in results:
    row: dict[str, Any] = {"name": result.name}
    if result.problem:
      table.append(row | {"problem": result.problem})
      continue
    row |= {
      "median_seconds": round(result.median, 5),
      "spread": round(result.spread, 3),
      "runs": len(result.seconds),
      "prepare_seconds": round(result.seconds_to_prepare, 2),
      "memory_gib": round(result.memory / 2**30, 3),
    }
    if work:
      row["tflops"] = round(work / result.median / 1e12, 4)
    if work and peak:
      row["share_of_peak"] = round(work / result.median / peak, 3)
    if not results[0].problem:
      row["ours_is_faster"] = round(_paired_ratio(results[0], result), 3)
    table.append(row)
  return table


def show(title: str, table: Sequence[Mapping[str, Any]]) -> None:
  """Print rows as a Markdown table."""
  columns = list(dict.fromkeys(key for row in table for key in row))
  print(f"\n{title}\n")
  print("| " + " | ".join(columns) + " |")
  print("|" + " --- |" * len(columns))
  for row in table:
    print("| " + " | ".join(str(row.get(key, "")) for key in columns) + " |")


def save(name: str, settings: argparse.Namespace, tables: Mapping[str, Any]) -> Path:
  """Write settings, facts and tables to `results/<name>-<device>.json`."""
  known = facts()
  file = result_file(name, known)
  document = {"benchmark": name, **known, "settings": vars(settings), **tables}
  write_json(file, document)
  print(f"\n{file}")
  return file


def result_file(name: str, known: Mapping[str, Any], folder: Path = RESULTS) -> Path:
  """Name the file of a benchmark on a device."""
  device = re.sub(r"[^a-z0-9]+", "-", known["device"].lower()).strip("-")
  return folder / f"{name}-{device}.json"


def _paired_ratio(ours: Result, other: Result) -> float:
  """Return the median over rounds of the other's time by ours: drifts cancel."""
  pairs = zip(ours.seconds, other.seconds, strict=False)
  ratios = sorted(theirs / mine for mine, theirs in pairs)
  middle = len(ratios) // 2
  return (ratios[middle] + ratios[~middle]) / 2


def _processor() -> str:
  for line in Path("/proc/cpuinfo").read_text().splitlines():
    if line.startswith("model name"):
      return "cpu " + line.split(":")[1].strip()
  return "cpu " + platform.machine()
