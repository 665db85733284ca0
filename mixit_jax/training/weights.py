"""Weights of any origin: a run's checkpoints or a folder of weights."""

import dataclasses
from pathlib import Path

from mixit_jax.separator.weights import Weights, load_description
from mixit_jax.training import checkpoints
from mixit_jax.training.formats import format_of
from mixit_jax.training.workdir import WorkdirError, stored_config


def read_weights(folder: Path, which: str = "mean") -> Weights:
  """Weights of a run or of a folder of weights.

  Args:
    folder: working directory of a run, or a folder of exported or imported weights.
    which: for a run, "mean" (of the best checkpoints, the paper's way), "best",
      "latest", "ema" or a step. A folder of weights has only one set.

  Raises:
    UserError: the folder is neither, or its files are missing or damaged.
  """
  stored = format_of(_existing(folder))
  if stored:
    return stored.load(Path(folder))
  description = describe_weights(folder, which)
  steps = description.card["steps"]
  params = checkpoints.load_params(Path(folder), steps, ema=which == "ema")
  return dataclasses.replace(description, params=params)


def describe_weights(folder: Path, which: str = "mean") -> Weights:
  """What `read_weights` would read, but for the parameters: quick, nothing is loaded.

  Raises:
    UserError: the folder is neither a run nor a folder of weights, or lacks these.
  """
  folder = _existing(folder)
  if format_of(folder):
    return load_description(folder)
  config = stored_config(folder)
  steps = checkpoints.choose_steps(folder, which, best=config.run.keep_best)
  if which == "ema" and not config.optimizer.ema:
    raise WorkdirError(
      f"{folder} keeps no running mean of its parameters (optimizer.ema was 0); choose "
      "other weights"
    )
  supervised = config.objective.kind == "stems"
  return Weights(
    config.model,
    {},
    stems=config.data.stems if supervised else None,
    card={
      "run": str(folder),
      "weights": which,
      "steps": steps,
      "objective": config.objective.kind,
      "training_data": config.data.shards,
      "init": config.init.run,
    },
  )


def _existing(folder: Path) -> Path:
  folder = Path(folder)
  if not folder.is_dir():
    raise WorkdirError(f"{folder} does not exist; name a run or a folder of weights")
  return folder
