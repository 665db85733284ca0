"""Rows of results.json as numbers to show."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.small_scale.statistics import Estimate, estimate

Rows = Mapping[str, dict[str, Any]]


def cells(rows: Rows, size: str, arm: str) -> dict[int, dict[int, dict[str, float]]]:
  """Return uSDR by number of labeled songs, seed and test song.

  It is the mean over the stems that sound, in dB.
  """
  found: dict[int, dict[int, dict[str, float]]] = {}
  for row in rows.values():
    task = row["task"]
    if (task["kind"], task.get("size"), task.get("arm")) == ("finetune", size, arm):
      scores = {song["name"]: _mean(song["usdr_mdx"]) for song in row["songs"]}
      found.setdefault(task["songs"], {})[task["seed"]] = scores
  return found


def score(rows: Rows, size: str, arm: str) -> dict[int, Estimate]:
  """Return the mean score of an arm by number of labeled songs."""
  found = cells(rows, size, arm)
  return {
    count: estimate(
      np.array([list(scores.values()) for scores in found[count].values()])
    )
    for count in sorted(found)
  }


def difference(
  rows: Rows, size: str, arm: str, against: str, group: str = ""
) -> dict[int, Estimate]:
  """Return what an arm is better than another, paired by seed and test song.

  Args:
    rows: results.
    size: of the model.
    arm: how its training starts.
    against: the other arm.
    group: of the test songs that count; all of them if empty.
  """
  first, second = cells(rows, size, against), cells(rows, size, arm)
  result = {}
  for count in sorted(first.keys() & second.keys()):
    seeds = sorted(first[count].keys() & second[count].keys())
    pairs = [
      [
        second[count][s][song] - first[count][s][song]
        for song in first[count][s]
        if group in ("", group_of(song))
      ]
      for s in seeds
    ]
    if pairs:
      result[count] = estimate(np.array(pairs))
  return result


def group_of(song: str) -> str:
  """Return the group of a test song: its name without the number."""
  return song.rpartition("-")[0]


def groups(rows: Rows) -> list[str]:
  """Return the groups of the test songs where there are several."""
  found = {
    group_of(song["name"]) for row in rows.values() for song in row.get("songs", ())
  }
  return sorted(found) if len(found) > 1 else []


def _mean(stems: Mapping[str, float | None]) -> float:
  return float(np.mean([value for value in stems.values() if value is not None]))


def mean_of(row: Mapping[str, Any], key: str) -> float:
  """Return the mean of a measure over the pairs of a splitting."""
  return float(np.mean([pair[key] for pair in row["pairs"]]))


def steps_of(rows: Rows, pairs: str) -> list[tuple[int, dict[str, Any]]]:
  """Return splittings of a kind of pairs by step, of the first pre-training."""
  found = [
    row
    for row in rows.values()
    if row["task"]["kind"] == "splitting" and row["task"]["pairs"] == pairs
  ]
  curve = [
    (int(row["task"]["weights"]), row)
    for row in found
    if row["task"]["start"] == found[0]["task"]["start"]
    and row["task"]["weights"].isdecimal()
  ]
  return sorted(curve, key=lambda pair: pair[0])
