"""Scores of all songs, stem by stem: of one evaluation, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixit_jax.evaluation.results import Evaluation
from mixit_jax.evaluation.summaries import CONVENTIONS, OVER_SONGS
from mixit_jax.plots.figures import GRAY, color, drawing

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

_PANELS = {"usdr_mdx": "uSDR in dB", "csdr": "cSDR in dB"}


def plot_scores(evaluations: Mapping[str, Evaluation], file: Path) -> None:
  """Draw the scores of each song as a point, and their quartiles as a box.

  The unprocessed mixture stands beside them where all evaluations have its scores.

  Args:
    evaluations: by the names to show.
    file: to write.

  Raises:
    UserError: the file cannot be written.
  """
  stems = list(dict.fromkeys(s for found in evaluations.values() for s in found.stems))
  groups = len(evaluations) + 1
  width = max(7.5, 2 * (0.9 + len(stems) * (0.24 * groups + 0.25)))
  most = max(len(found.songs) for found in evaluations.values())
  title = f"Scores of {'1 song' if most == 1 else f'{most} songs'}"
  with drawing(file, title, width, 3.9, len(_PANELS)) as (figure, axes):
    for axis, (score, label) in zip(axes, _PANELS.items(), strict=True):
      first = next(iter(evaluations.values()))
      _draw(axis, first, score, stems, 0, groups, "mixture", GRAY)
      for number, found in enumerate(evaluations.values()):
        place = number + 1
        _draw(axis, found, score, stems, place, groups, "estimates", color(number))
      axis.set_xticks(range(len(stems)), stems)
      axis.grid(visible=False, axis="x")
      axis.tick_params(axis="x", length=0)
      axis.axhline(0, color="#b5b8be", linewidth=0.8, zorder=0)
      axis.set_title(f"{label} (bar: {CONVENTIONS[score]})")
    _legend(figure, list(evaluations))


def _draw(
  axis: Axes,
  found: Evaluation,
  score: str,
  stems: list[str],
  place: int,
  groups: int,
  kind: str,
  shade: str,
) -> None:
  table = found.table(score, kind)
  width = 0.8 / groups
  for position, stem in enumerate(stems):
    if stem not in found.stems:
      continue
    values = np.sort(table[:, found.stems.index(stem)])
    values = values[np.isfinite(values)]
    if not len(values):
      continue
    x = position + (place - (groups - 1) / 2) * width
    if len(values) > 3:
      low, high = np.quantile(values, [0.25, 0.75])
      axis.bar(x, high - low, 0.8 * width, low, color=shade, alpha=0.22, linewidth=0)
    # Neighbors in rank stand side by side, the same way every time.
    aside = ((np.arange(len(values)) * 0.618034) % 1 - 0.5) * 0.55 * width
    axis.scatter(x + aside, values, s=13, color=shade, alpha=0.75, linewidths=0)
    center = OVER_SONGS[CONVENTIONS[score]](values)
    half = 0.42 * width
    axis.plot([x - half, x + half], [center, center], color=shade, linewidth=2.4)


def _legend(figure: Figure, names: list[str]) -> None:
  from matplotlib.patches import Patch

  handles = [Patch(color=GRAY, label="unprocessed mixture")]
  handles += [Patch(color=color(i), label=name) for i, name in enumerate(names)]
  figure.legend(
    handles=handles, loc="outside upper right", ncols=4, handlelength=1, handleheight=1
  )
