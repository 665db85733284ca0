"""The matrix of a channel selection: which output was the best match of which stem."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.plots.figures import drawing


def plot_selection(document: Mapping[str, Any], name: str, file: Path) -> None:
  """Draw the votes of a channel selection, with a frame around what was chosen.

  Args:
    document: what `mixit-jax select-channels` writes.
    name: of the run or the file.
    file: to write.

  Raises:
    UserError: it is no selection, or the file cannot be written.
  """
  try:
    stems = [str(stem) for stem in document["stems"]]
    outputs = [int(output) for output in document["outputs"]]
    votes = np.array(document["votes"], int).reshape(len(stems), -1)
    if not all(0 <= output < votes.shape[1] for output in outputs):
      raise ValueError("no such output")
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(f"{name}: holds no channel selection") from error
  count = votes.shape[1]
  width = 2.4 + 0.55 * max(count, 6)
  title = f"Channel selection of {name}: votes of song chunks"
  with drawing(file, title, width, 1.5 + 0.5 * len(stems)) as (figure, (axis,)):
    most = max(int(votes.max()), 1)
    image = axis.imshow(votes, cmap="Blues", vmin=0, vmax=most, aspect="auto")
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.set_xticks(range(count), [str(output) for output in range(count)])
    axis.set_yticks(range(len(stems)), stems)
    axis.tick_params(length=0)
    axis.set_xlabel("output (framed: chosen)")
    for (row, column), vote in np.ndenumerate(votes):
      if vote:
        shade = "white" if vote > 0.6 * most else "#1d1f24"
        axis.text(column, row, str(vote), ha="center", va="center", color=shade)
    from matplotlib.patches import Rectangle

    for row, output in enumerate(outputs):
      axis.add_patch(
        Rectangle(
          (output - 0.46, row - 0.44),
          0.92,
          0.88,
          fill=False,
          edgecolor="#d55e00",
          linewidth=2.2,
        )
      )
    figure.colorbar(image, ax=axis, label="votes", pad=0.015)
