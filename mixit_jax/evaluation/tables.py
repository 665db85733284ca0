"""Plain-text tables of results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


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

  Args:
    evaluation: what `Evaluation.to_dict` returns.
  """
  estimates, mixture = evaluation["estimates"], evaluation["mixture"]
  rows = [
    [
      stem,
      estimates["usdr_mdx"][stem],
      mixture["usdr_mdx"][stem],
      _difference(estimates["usdr_mdx"][stem], mixture["usdr_mdx"][stem]),
      estimates["usdr_per_channel"][stem],
      estimates["csdr"][stem],
      mixture["csdr"][stem],
    ]
    for stem in estimates["usdr_mdx"]
  ]
  header = ["dB", "uSDR", "mixture", "gain", "uSDR/ch", "cSDR", "mixture"]
  return format_table(header, rows)


def _difference(a: float | None, b: float | None) -> float | None:
  return None if a is None or b is None else a - b


def _cell(value: Any) -> str:
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return "-"
  return f"{value:.2f}" if isinstance(value, float) else str(value)


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
