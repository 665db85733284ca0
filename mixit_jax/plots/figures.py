"""Figures of one look, drawn without a display and written whole or not at all."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixit_jax.errors import UserError, missing_extra
from mixit_jax.files import replacing

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# Okabe and Ito (2008): people with any color vision tell them apart.
COLORS = (
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#e69f00",
  "#56b4e9",
  "#7a5fb0",
  "#4d4d4d",
)
GRAY = "#8a8f98"

_STYLE: Any = {  # matplotlib lists the names of all its settings as types
  "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
  "font.size": 9.5,
  "axes.titlesize": 10.5,
  "axes.titleweight": "bold",
  "axes.titlelocation": "left",
  "axes.edgecolor": "#b5b8be",
  "axes.labelcolor": "#3a3d44",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": "#e7e8ea",
  "xtick.color": "#3a3d44",
  "ytick.color": "#3a3d44",
  "legend.frameon": False,
  "lines.linewidth": 1.6,
  "savefig.dpi": 150,
  "svg.hashsalt": "mixit_jax",  # the same bytes every time
}


@contextlib.contextmanager
def drawing(
  file: Path, title: str, width: float, height: float, panels: int = 1
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
  """Write a figure at the end of the block.

  Args:
    file: whose suffix, .png or .svg, decides the format.
    title: above all panels.
    width: in inches.
    height: in inches.
    panels: drawn side by side.

  Yields:
    the figure and its panels.

  Raises:
    UserError: matplotlib is missing, or the file cannot be written.
  """
  check_matplotlib()
  import matplotlib as mpl
  from matplotlib.figure import Figure

  with mpl.rc_context(_STYLE):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    yield figure, list(axes)
    kind = file.suffix[1:]
    # Without the time of day.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    try:
      with replacing(file) as temporary:
        figure.savefig(temporary, format=kind, metadata=metadata)
    except OSError as error:
      raise UserError(f"{file} cannot be written: {error.strerror}") from error


def check_matplotlib() -> None:
  """Raise a UserError unless there is matplotlib."""
  # It tells where its caches are, and that it searches fonts.
  logging.getLogger("matplotlib").setLevel(logging.ERROR)
  try:
    import matplotlib
    import matplotlib.figure  # noqa: F401
  except ImportError as error:
    raise UserError(missing_extra(error, "matplotlib", "plot", "plots")) from error


def color(number: int) -> str:
  """Return the color of a run or a file; they repeat after eight."""
  return COLORS[number % len(COLORS)]
