"""Training curves of one or several runs, from what they report while they train."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.plots.figures import color, drawing
from mixit_jax.training.telemetry import METRICS_FILE

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# What is drawn where at least one run reports it; the loss always is.
_PANELS = {
  "loss": "Loss in dB",
  "improvement_db": "MixIT: dB better than trivial outputs",
  "usdr": "uSDR of validation songs in dB",
}
_SMOOTHED = 0.1  # of the reports of a run, averaged into its line


class Curve(NamedTuple):
  """A value over the steps of a run.

  Attributes:
    steps: steps taken, in order.
    values: the value, finite.
  """

  steps: np.ndarray
  values: np.ndarray


def read_curves(run: Path) -> dict[tuple[str, str], Curve]:
  """Read what a run has reported so far.

  Args:
    run: its working directory.

  Returns:
    a curve for each group ("train" or "valid") and name of a value.

  Raises:
    UserError: the run has reported nothing.
  """
  file = run / METRICS_FILE
  points: dict[tuple[str, str], list[tuple[float, float]]] = {}
  try:
    lines = file.read_text("utf-8", "replace").splitlines()
  except OSError as error:
    raise UserError(f"{file} cannot be read: {error.strerror}") from error
  for line in lines:
    try:
      report = json.loads(line)
      step, group = float(report["step"]), str(report["group"])
    except (ValueError, KeyError, TypeError):
      continue  # torn by a kill, or being written
    for name, value in report.items():
      number = isinstance(value, int | float) and math.isfinite(value)
      if number and name not in ("step", "time"):
        points.setdefault((group, name), []).append((step, value))
  if not any(name == "loss" for _, name in points):
    raise UserError(f"{file} holds no losses yet; let the run train a little")
  return {key: Curve(*np.array(sorted(pairs)).T) for key, pairs in points.items()}


def plot_curves(runs: Mapping[str, Path], file: Path) -> None:
  """Draw losses and validation scores of runs.

  Args:
    runs: working directories by the names to show.
    file: to write.

  Raises:
    UserError: a run has reported nothing, or the file cannot be written.
  """
  curves = {name: read_curves(run) for name, run in runs.items()}
  panels = {
    value: title
    for value, title in _PANELS.items()
    if any(("valid", value) in found for found in curves.values()) or value == "loss"
  }
  last = max(curve.steps[-1] for found in curves.values() for curve in found.values())
  width = 1.2 + 3.6 * len(panels)
  with drawing(file, "Training", width, 3.7, len(panels)) as (figure, axes):
    for axis, (value, title) in zip(axes, panels.items(), strict=True):
      for number, found in enumerate(curves.values()):
        _draw(axis, found, value, color(number))
      axis.set_title(title)
      axis.set_xlabel("step")
      axis.set_xlim(0, 1.02 * last)
    _legend(figure, list(curves))


def _draw(
  axis: Axes, found: Mapping[tuple[str, str], Curve], value: str, shade: str
) -> None:
  """Draw training thin, with its running mean, and validation with marks."""
  if value == "loss" and (train := found.get(("train", value))):
    axis.plot(train.steps, train.values, color=shade, alpha=0.22, linewidth=0.8)
    axis.plot(*_smoothed(train), color=shade, alpha=0.55, linewidth=1.1)
  if valid := found.get(("valid", value)):
    axis.plot(
      valid.steps,
      valid.values,
      color=shade,
      marker="o",
      markersize=4.5,
      markeredgecolor="white",
      markeredgewidth=0.7,
    )


def _smoothed(curve: Curve) -> Curve:
  """Return the running mean, over an odd number of reports, without the ends."""
  count = 2 * (round(_SMOOTHED * len(curve.steps)) // 2) + 1
  mean = np.convolve(curve.values, np.full(count, 1 / count), "valid")
  half = count // 2
  return Curve(curve.steps[half : len(curve.steps) - half], mean)


def _legend(figure: Figure, names: Sequence[str]) -> None:
  from matplotlib.lines import Line2D

  handles = [Line2D([], [], color=color(i), label=name) for i, name in enumerate(names)]
  gray = "#6a6e78"
  handles += [
    Line2D([], [], color=gray, alpha=0.55, linewidth=1.1, label="training, smoothed"),
    Line2D([], [], color=gray, marker="o", markersize=4.5, label="validation"),
  ]
  figure.legend(handles=handles, loc="outside upper right", ncols=6)
