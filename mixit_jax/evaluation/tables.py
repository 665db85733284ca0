"""Plain-text tables of results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Of fewer songs, the bootstrap knows too little.
FEW_SONGS = 10


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  """Align columns: text to the left, numbers with two decimals to the right."""
  text = [[_cell(value) for value in row] for row in rows]
  widths = [
    max(len(line[i]) for line in [list(header), *text]) for i in range(len(header))
  ]

  def line(cells: Sequence[str]) -> str:
    first, *others = (
      cell.ljust(width) if i == 0 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()

  rule = "  ".join("-" * width for width in widths)
  return "\n".join([line(list(header)), rule, *(line(cells) for cells in text)])


def score_table(evaluation: Mapping[str, Any]) -> str:
  """Show scores of estimates and of the unprocessed mixture, a row for each stem.

  Below the table, words say what the numbers are, and what has none.

  Args:
    evaluation: what `Evaluation.to_dict` returns.
  """
  estimates, mixture = evaluation["estimates"], evaluation["mixture"]
  intervals = evaluation["intervals"]
  rows = [
    [
      stem,
      estimates["usdr_mdx"][stem],
      _interval(intervals["usdr_mdx"][stem]),
      mixture["usdr_mdx"][stem],
      _difference(estimates["usdr_mdx"][stem], mixture["usdr_mdx"][stem]),
      estimates["usdr_per_channel"][stem],
      estimates["csdr"][stem],
      _interval(intervals["csdr"][stem]),
      mixture["csdr"][stem],
    ]
    for stem in estimates["usdr_mdx"]
  ]
  header = ["dB", "uSDR", "95 %", "mixture", "gain", "uSDR/ch", "cSDR", "95 %"]
  lines = [format_table([*header, "mixture"], rows), "", _songs_line(evaluation)]
  return "\n".join([*lines, *_missing_lines(evaluation)])


def song_table(evaluation: Mapping[str, Any]) -> str:
  """Show the uSDR of each song, a column for each stem, and the mean over the stems.

  Args:
    evaluation: what `Evaluation.to_dict` returns.
  """
  stems = [stem for stem in evaluation["estimates"]["usdr_mdx"] if stem != "average"]
  rows = []
  for song in evaluation["songs"]:
    values = [song["usdr_mdx"][stem] for stem in stems]
    there = [float(value) for value in values if value is not None]
    mean = sum(there) / len(there) if there else None
    rows.append([song["name"], *values, mean])
  return format_table(["uSDR in dB", *stems, "average"], rows)


def comparison_table(comparison: Mapping[str, Any]) -> str:
  """Show paired differences of two evaluations, a row for each score and stem.

  Args:
    comparison: what `Comparison.to_dict` returns.
  """
  titles = {"usdr_mdx": "uSDR", "usdr_per_channel": "uSDR/ch", "csdr": "cSDR"}
  rows = [
    [
      f"{titles[score]} {stem}",
      row["first"],
      row["second"],
      row["difference"],
      _interval(row["interval"]),
      f"{row['second_better']} of {row['songs']}",
    ]
    for score, stems in comparison["differences"].items()
    for stem, row in stems.items()
  ]
  header = ["dB", "first", "second", "second - first", "95 %", "second better"]
  count = len(comparison["songs"])
  few = ", too narrow with so few" if count < FEW_SONGS else ""
  lines = [
    format_table(header, rows),
    "",
    f"{_songs(count)} in both; intervals of the difference by the paired bootstrap over"
    f" songs{few}",
  ]
  for which in ("first", "second"):
    if only := comparison[f"only_{which}"]:
      lines.append(
        f"{_songs(len(only))} in the {which} only, left out: {_listed(only)}"
      )
  return "\n".join(lines)


def _songs_line(evaluation: Mapping[str, Any]) -> str:
  scored, failed = len(evaluation["songs"]), len(evaluation["failed"])
  unfinished = len(evaluation["unfinished"])
  total = scored + failed + unfinished
  counted = _songs(scored) if scored == total else f"{scored} of {_songs(total)}"
  parts = [f"{counted}; uSDR: mean over songs, cSDR: median"]
  if scored == 1:
    parts.append("no intervals of one song")
  else:
    few = ", too narrow with so few" if scored < FEW_SONGS else ""
    parts.append(f"intervals by the bootstrap over songs{few}")
  return "; ".join(parts)


def _missing_lines(evaluation: Mapping[str, Any]) -> list[str]:
  """Say in words which scores are missing, and why."""
  scored, counts = len(evaluation["songs"]), evaluation["counts"]
  lines = []
  for stem, count in counts["usdr_mdx"].items():
    if count == 0:
      every = "the song" if scored == 1 else f"all {scored} songs"
      lines.append(f"{stem} is silent in {every}: it has no score")
    elif count < scored:
      lines.append(
        f"{stem} is silent in {scored - count} of {_songs(scored)}, which are left out"
      )
  frames = max(counts["csdr"].values())
  if frames < scored:
    where = (
      "no song has" if frames == 0 else f"{scored - frames} of {scored} songs lack"
    )
    lines.append(f"cSDR needs seconds in which every stem sounds: {where} any")
  for name, reason in evaluation["failed"].items():
    lines.append(f"not scored, and left out: {name}: {reason}")
  return lines


def _songs(count: int) -> str:
  return "1 song" if count == 1 else f"{count} songs"


def _listed(names: Sequence[str], most: int = 5) -> str:
  rest = len(names) - most
  return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _interval(ends: Sequence[float | None]) -> str | None:
  low, high = ends
  if low is None or high is None:
    return None
  return f"{_cell(low)} to {_cell(high)}"


def _difference(a: float | None, b: float | None) -> float | None:
  return None if a is None or b is None else float(a) - float(b)


def _cell(value: Any) -> str:
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return "-"
  if not isinstance(value, float):
    return str(value)
  return f"{round(value, 2) + 0.0:.2f}"  # no -0.00


def selection_table(selection: Mapping[str, Any]) -> str:
  """Show the selected outputs with their share of votes, a row for each stem.

  Args:
    selection: what `ChannelSelection.to_dict` returns.
  """
  rows = [
    [
      stem,
      selection["outputs"][i],
      f"{selection['votes'][i][selection['outputs'][i]]}/{sum(selection['votes'][i])}",
      float(selection["confidence"][i]),
      float(selection["mean_snr_db"][i]),
    ]
    for i, stem in enumerate(selection["stems"])
  ]
  return format_table(["stem", "output", "votes", "confidence", "SNR dB"], rows)
