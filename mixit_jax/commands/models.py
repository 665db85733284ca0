"""The model that a command line names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from mixit_jax.inference.model import Model

# Options that decide how a model separates.
OF_A_RUN = ("weights", "chunk", "hop", "window", "batch", "precision")


def load_model(options: argparse.Namespace, run: Path | None = None) -> Model:
  """Load the run of the command line, or another one with the same options."""
  from mixit_jax.inference.model import Model, load

  weights = load(run or options.model, options.weights).weights
  return Model(
    weights,
    options.chunk,
    options.hop,
    options.batch,
    options.precision,
    options.window,
  )
