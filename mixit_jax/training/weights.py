"""Weights of any origin: a run's checkpoints or a folder of weights."""

from pathlib import Path

from mixit_jax.separator.weights import Weights
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
  folder = Path(folder)
  if not folder.is_dir():
    raise WorkdirError(f"{folder} does not exist; name a run or a folder of weights")
  stored = format_of(folder)
  if stored:
    return stored.load(folder)
  config = stored_config(folder)
  steps = checkpoints.choose_steps(folder, which, best=config.run.keep_best)
  params = checkpoints.load_params(folder, steps, ema=which == "ema")
  supervised = config.objective.kind == "stems"
  return Weights(
    config.model,
    params,
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
