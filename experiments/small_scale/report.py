"""The report: results.md and figures, all from a grid and the rows of results.json."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.small_scale.figures import draw_figures
from experiments.small_scale.grid import Grid, Table
from experiments.small_scale.measures import Rows, difference, groups, mean_of, score
from experiments.small_scale.statistics import Estimate
from mixit_jax.files import replacing

_DIFFERENCES = [
  "difference",
  "labeled songs",
  "dB",
  "95 % interval",
  "seeds",
  "test songs",
]


def write_report(grid: Grid, rows: Rows, folder: Path) -> None:
  """Write results.md, and figures where matplotlib is installed."""
  with replacing(folder / "results.md") as temporary:
    temporary.write_text(report(grid, rows), "utf-8")
  draw_figures(grid, rows, folder)


def report(grid: Grid, rows: Rows) -> str:
  """Return all tables, with their titles, in Markdown."""
  parts = [*_tables(grid, rows), *_pretrainings(rows), *_splittings(rows)]
  return "\n\n".join(parts or ["Nothing is measured yet."]) + "\n"


def _tables(grid: Grid, rows: Rows) -> Iterator[str]:
  for table in grid.tables:
    scores = {arm: score(rows, table.size, arm) for arm in table.arms}
    columns = {arm: column for arm, column in scores.items() if column}
    if columns:
      yield f"## {table.title}\n\n{_scores(table, columns)}"
    lines = [
      _difference(f"{arm} - {grid.against[arm]}", count, group, value)
      for arm in table.arms
      if arm in grid.against
      for group in ("", *groups(rows))
      for count, value in difference(
        rows, table.size, arm, grid.against[arm], group
      ).items()
    ]
    if lines:
      yield markdown(_DIFFERENCES, lines)


def _scores(table: Table, columns: Mapping[str, Mapping[int, Estimate]]) -> str:
  counts = sorted({count for column in columns.values() for count in column})
  lines = [
    [str(count), *(_plain(column.get(count)) for column in columns.values())]
    for count in counts
  ]
  return (
    f"uSDR in dB, mean over seeds and test songs, ± the standard deviation of the seeds"
    f" (size: {table.size}).\n\n" + markdown(["labeled songs", *columns], lines)
  )


def _difference(name: str, count: int, group: str, value: Estimate) -> list[str]:
  return [
    name,
    str(count),
    f"{value.mean:+.2f}",
    f"{value.low:+.2f} to {value.high:+.2f}",
    str(value.seeds),
    f"{value.songs} {group}".strip(),
  ]


def _pretrainings(rows: Rows) -> Iterator[str]:
  lines = []
  for name, row in rows.items():
    if row["task"]["kind"] == "pretrain":
      last = row["valid"][-1]
      lines.append([name, row["task"]["size"], str(last[0]), f"{last[2]:.2f}"])
  if lines:
    header = ["pre-training", "size", "steps", "dB better than trivial outputs"]
    yield "## Pre-training\n\n" + markdown(header, lines)


def _splittings(rows: Rows) -> Iterator[str]:
  found = [row for row in rows.values() if row["task"]["kind"] == "splitting"]
  lines = []
  for row in sorted(found, key=lambda row: _order(row["task"])):
    task, pairs = row["task"], row["pairs"]
    means = {key: mean_of(row, key) for key in pairs[0]}
    wins = np.mean([p["stems_gain_db"] > p["mixtures_gain_db"] for p in pairs])
    lines.append(
      [
        task["start"],
        task["weights"],
        task["pairs"],
        *(f"{means[key]:.2f}" for key in ("stems_db", "stems_gain_db")),
        *(f"{means[key]:.2f}" for key in ("mixtures_db", "mixtures_gain_db")),
        f"{means['remixed_db']:.2f}",
        f"{100 * wins:.0f} %",
        f"{100 * means['stem_like']:.0f} %",
      ]
    )
  if lines:
    header = [
      "pre-training",
      "step",
      "pairs",
      "stems dB",
      "gain",
      "mixtures dB",
      "gain",
      "remixed dB",
      "stems gain more",
      "energy nearer to a stem",
    ]
    yield "## Sources or mixtures\n\n" + markdown(header, lines)


def _order(task: Mapping[str, Any]) -> tuple[Any, ...]:
  weights = task["weights"]
  step = int(weights) if weights.isdecimal() else math.inf
  return task["start"], task["pairs"], step


def markdown(header: list[str], lines: list[list[str]]) -> str:
  """Return a table; all columns but the first are right-aligned."""
  rule = ["---", *("--:" for _ in header[1:])]
  return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def _plain(value: Estimate | None) -> str:
  if value is None:
    return ""
  spread = "" if math.isnan(value.spread) else f" ± {value.spread:.2f}"
  return f"{value.mean:.2f}{spread}"
