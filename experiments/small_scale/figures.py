"""Figures of the report, drawn with matplotlib where it is installed."""

import itertools
import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.small_scale.grid import Grid
from experiments.small_scale.measures import Rows, difference, mean_of, score, steps_of
from mixit_jax.files import replacing

# Okabe and Ito's colors, which the color-blind can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#009E73", "#CC79A7")
_PAIRS = ("independent", "aligned", "halves")


def draw_figures(grid: Grid, rows: Rows, folder: Path) -> None:
  """Draw what is measured: labels.png, learning.png, pretraining.png, splitting.png."""
  try:
    import matplotlib
    import matplotlib.figure
  except ImportError:
    logging.info("no figures: they need matplotlib (pip install mixit-jax[plot])")
    return
  draw = _Drawing(matplotlib.figure, folder)
  draw.labels(grid, rows)
  draw.learning(grid, rows)
  draw.pretraining(rows)
  draw.splitting(rows)


class _Drawing:
  """Draws figures into a folder."""

  def __init__(self, figure: ModuleType, folder: Path):
    self.figure, self.folder = figure, folder

  def _axes(self, count: int) -> tuple[Any, list[Any]]:
    figure = self.figure.Figure(figsize=(4.6 * count, 3.4), layout="constrained")
    return figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]

  def _save(self, figure: Any, name: str) -> None:
    with replacing(self.folder / f"{name}.png") as temporary:
      figure.savefig(temporary, dpi=130, format="png")

  def labels(self, grid: Grid, rows: Rows) -> None:
    """Draw scores and differences over the number of labeled songs."""
    for number, table in enumerate(grid.tables):
      if not any(score(rows, table.size, arm) for arm in table.arms):
        continue
      figure, (left, right) = self._axes(2)
      counts: set[int] = set()
      for color, arm in zip(itertools.cycle(_COLORS), table.arms):
        found = score(rows, table.size, arm)
        if not found:
          continue
        counts |= found.keys()
        x = list(found)
        left.plot(x, [e.mean for e in found.values()], "o-", color=color, label=arm)
        if arm in grid.against:
          better = difference(rows, table.size, arm, grid.against[arm])
          x, low = list(better), [e.low for e in better.values()]
          label = f"{arm} - {grid.against[arm]}"
          right.plot(
            x, [e.mean for e in better.values()], "o-", color=color, label=label
          )
          right.fill_between(
            x,
            low,
            [e.high for e in better.values()],
            color=color,
            alpha=0.2,
            linewidth=0,
          )
      right.axhline(0, color="gray", linewidth=0.8)
      left.set_ylabel("uSDR of test songs, dB")
      right.set_ylabel("difference, dB (95 % interval)")
      for axes in (left, right):
        axes.set_xlim(min(counts) / 1.5, max(counts) * 1.5)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(counts), [str(count) for count in sorted(counts)])
        axes.set_xlabel("labeled songs")
        if axes.get_legend_handles_labels()[0]:
          axes.legend(fontsize=7, frameon=False)
      self._save(figure, "labels" if number == 0 else f"labels-{number + 1}")

  def learning(self, grid: Grid, rows: Rows) -> None:
    """Draw validation losses of fine-tuning with the fewest labeled songs."""
    if not grid.tables:
      return
    table = grid.tables[0]
    shown = [
      row
      for row in rows.values()
      if (row["task"].get("size"), row["task"].get("arm"))
      in [(table.size, arm) for arm in table.arms]
    ]
    if not shown:
      return
    fewest = min(row["task"]["songs"] for row in shown)
    figure, (axes,) = self._axes(1)
    for color, arm in zip(itertools.cycle(_COLORS), table.arms):
      label: str | None = arm
      for row in shown:
        if (row["task"]["arm"], row["task"]["songs"]) == (arm, fewest):
          steps, losses, _ = zip(*row["valid"], strict=True)
          axes.plot(steps, losses, color=color, label=label)
          label = None
    axes.set_xlabel("steps of fine-tuning")
    axes.set_ylabel("validation loss, dB")
    axes.set_title(f"labeled songs: {fewest}", fontsize=9)
    axes.legend(fontsize=7, frameon=False)
    self._save(figure, "learning")

  def pretraining(self, rows: Rows) -> None:
    """Draw how much better than trivial outputs pre-trained models become."""
    found = {n: r for n, r in rows.items() if r["task"]["kind"] == "pretrain"}
    if not found:
      return
    figure, (axes,) = self._axes(1)
    for color, (name, row) in zip(itertools.cycle(_COLORS), found.items()):
      steps, _, better = zip(*row["valid"], strict=True)
      axes.plot(steps, better, color=color, label=name)
    axes.set_xlabel("steps of pre-training")
    axes.set_ylabel("dB better than trivial outputs")
    axes.legend(fontsize=7, frameon=False)
    self._save(figure, "pretraining")

  def splitting(self, rows: Rows) -> None:
    """Draw gains of stems and of mixtures over the steps of the first pre-training."""
    curves: Mapping[str, list[tuple[int, dict[str, Any]]]] = {
      pairs: steps_of(rows, pairs) for pairs in _PAIRS
    }
    if not any(curves.values()):
      return
    figure, (left, right) = self._axes(2)
    for color, (pairs, curve) in zip(_COLORS, curves.items(), strict=False):
      steps = [step for step, _ in curve]
      for key, style in (("stems_gain_db", "o-"), ("mixtures_gain_db", "s--")):
        values = [mean_of(row, key) for _, row in curve]
        label = f"{key.split('_')[0]}, {pairs}"
        left.plot(steps, values, style, color=color, markersize=4, label=label)
      shares = [100 * mean_of(row, "stem_like") for _, row in curve]
      right.plot(steps, shares, "o-", color=color, markersize=4, label=pairs)
    left.set_ylabel("SDR gain of the best outputs, dB")
    right.set_ylabel("energy nearer to a stem, %")
    right.set_ylim(0, 100)
    for axes in (left, right):
      axes.set_xlabel("steps of pre-training")
      axes.legend(fontsize=7, frameon=False)
    self._save(figure, "splitting")
