"""Weights of any origin: a run's checkpoints or a folder of weights.

A run's working directory holds `config.json`, `valid_losses.json` and `checkpoints/`,
one folder for each step. What a checkpoint says of itself (model, data, seeds, devices)
counts; `config.json` is what the run was last started with. Reading them does not need
the training code.
"""

import dataclasses
import errno
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mixit_jax.checked import build
from mixit_jax.errors import UserError, one_line
from mixit_jax.files import read_json
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.version import __version__
from mixit_jax.weights.checksums import checksums
from mixit_jax.weights.folder import (
  Weights,
  format_of,
  load_description,
  load_weights,
  restore_tree,
)
from mixit_jax.weights.provenance import run_stages, training_data

RUN_FORMAT = "mixit_jax run"
CONFIG_FILE = "config.json"
LOSSES_FILE = "valid_losses.json"
CHECKPOINTS = "checkpoints"

# Number of best checkpoints to average, as in the paper, if a run does not say.
_BEST = 5

_FULL = (errno.ENOSPC, errno.EDQUOT)

# How often weights are chosen, if the run removes checkpoints meanwhile.
_CHOICES = 5


class RunError(UserError):
  """A run that cannot be used."""


class NoRunError(RunError):
  """A folder in which no run has begun."""


def read_weights(folder: Path, which: str = "mean") -> Weights:
  """Read weights of a run or of a folder of weights.

  Args:
    folder: working directory of a run, or a folder of exported or imported weights.
    which: for a run, "mean" (of the best checkpoints, the paper's way), "best",
      "latest", "ema" or a step. Where the run keeps a running mean of its parameters,
      the first two are of that, since it is what is validated; "ema" is the latest.
      A folder of weights has only one set.

  Raises:
    UserError: the folder is neither, or its files are missing or damaged.
  """
  folder = Path(folder)
  for _ in range(_CHOICES):
    weights = describe_weights(folder, which)
    if format_of(folder):
      return load_weights(folder)
    steps = weights.card["steps"]
    try:
      # The best are those that were validated: running means, where a run keeps them.
      ema = which in ("ema", "mean", "best") and describe_run(folder, steps[-1]).ema
      params = load_params(folder, steps, ema)
      return dataclasses.replace(weights, params=params)
    except RunError:
      # A run that trains on removes checkpoints, also while they are read.
      if set(steps) <= set(checkpoint_steps(folder)):
        raise
  raise RunError(
    f"the checkpoints of {folder} were removed while they were read; try again"
  )


def describe_weights(folder: Path, which: str = "mean") -> Weights:
  """Describe what `read_weights` would read, without loading the parameters.

  Raises:
    UserError: the folder is neither a run nor a folder of weights, or lacks the
      weights asked for.
  """
  folder = Path(folder)
  if folder.is_file():
    raise RunError(f"{folder} is a file; name the folder that holds it")
  if not folder.is_dir():
    raise RunError(f"{folder} does not exist; name a run or a folder of weights")
  if format_of(folder):
    return load_description(folder)
  run = describe_run(folder)
  steps = choose_steps(folder, which, run.keep_best)
  if which == "ema" and not run.ema:
    raise RunError(
      f"{folder} keeps no running mean of its parameters (optimizer.ema was 0); choose "
      "other weights"
    )
  run = describe_run(folder, steps[-1])
  stages = run_stages(run.document, folder, which, steps)
  card = {
    "run": stages[0]["run"],
    "weights": which,
    "steps": steps,
    "objective": stages[0]["objective"],
    "init": run.document["config"]["init"]["run"],
    "training_data": training_data(stages),
    "stages": stages,
  }
  return Weights(run.model, {}, run.stems, card)


class RunDescription(NamedTuple):
  """What a run has recorded about its weights.

  Attributes:
    model: configuration of the separator.
    stems: names of its outputs, or None.
    document: all of it, see `read_document`.
    keep_best: best checkpoints that the run keeps.
    ema: whether it keeps a running mean of its parameters.
  """

  model: SeparatorConfig
  stems: tuple[str, ...] | None
  document: dict[str, Any]
  keep_best: int
  ema: bool


def describe_run(run: Path, step: int | None = None) -> RunDescription:
  """Read what a run has recorded about its weights.

  Args:
    run: its folder.
    step: of a checkpoint; None takes the latest.

  Raises:
    RunError: the folder is not a run.
  """
  document = read_document(run, step)
  values = document["config"]
  try:
    objective, data = values["objective"]["kind"], values["data"]
    return RunDescription(
      model=build(SeparatorConfig, values["model"]),
      stems=tuple(data["stems"]) or None if objective == "stems" else None,
      document=document,
      keep_best=values["run"].get("keep_best", _BEST),
      ema=bool(values["optimizer"].get("ema")),
    )
  except (KeyError, TypeError, AttributeError, UserError) as error:
    raise unusable(run, document, error) from error


def read_document(run: Path, step: int | None = None) -> dict[str, Any]:
  """Read what a run has recorded: version, config and provenance, as plain values.

  Args:
    run: its folder.
    step: of a checkpoint; None takes the latest that can be read, or `config.json`
      where there is none.

  Raises:
    RunError: the folder is not a run.
  """
  for candidate in reversed(checkpoint_steps(run)) if step is None else [step]:
    if (recorded := read_meta(run, candidate)) is not None:
      return recorded
  file = Path(run) / CONFIG_FILE
  if not file.is_file():
    raise NoRunError(f"{run} is not a run: it has no {CONFIG_FILE}")
  document = read_json(file)
  if document.get("format") != RUN_FORMAT or "config" not in document:
    raise RunError(f"{file} does not describe a run of mixit_jax")
  return document


def read_meta(run: Path, step: int) -> dict[str, Any] | None:
  """Read what a checkpoint says of itself, without its state.

  Returns:
    format, version, config, `data_fingerprint`, and what `provenance` reads; None where
    it cannot be read.
  """
  try:
    meta = read_json(Path(run) / CHECKPOINTS / str(step) / "meta" / "metadata")
  except UserError:
    return None
  # Checkpoints of the first version state neither.
  first = {"format": RUN_FORMAT, "version": "0.1.0"}
  return first | meta if isinstance(meta.get("config"), dict) else None


def unusable(run: Path, document: Mapping[str, Any], reason: Exception) -> RunError:
  """Return an error for a run of a version that this one cannot use."""
  return RunError(
    f"the configuration of {run} was written by version {document.get('version')} and "
    f"cannot be used by version {__version__}: {one_line(reason)}"
  )


def checkpoint_steps(run: Path) -> list[int]:
  """List the steps of the finished checkpoints of a run, ascending."""
  folder = Path(run) / CHECKPOINTS
  if not folder.is_dir():
    return []
  # A checkpoint folder gets its plain number as name only when it is complete.
  return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())


def valid_losses(run: Path) -> dict[int, float]:
  """Read the validation loss of each step that has one, NaN where it was not finite."""
  losses = {
    step: loss
    for step in checkpoint_steps(run)
    if (loss := _loss_in_checkpoint(run, step)) is not None
  }
  try:
    stored = read_json(Path(run) / LOSSES_FILE)
    losses |= {int(k): math.nan if v is None else float(v) for k, v in stored.items()}
  except (UserError, ValueError, TypeError):
    pass  # missing or damaged: a validation finds the losses again
  return losses


def _loss_in_checkpoint(run: Path, step: int) -> float | None:
  """Read a loss where version 0.1 kept it, or return None."""
  file = Path(run) / CHECKPOINTS / str(step) / "metrics" / "metrics"
  try:
    return float(read_json(file)["loss"])
  except (UserError, ValueError, KeyError, TypeError):
    return None


def choose_steps(run: Path, weights: str, best: int = _BEST) -> list[int]:
  """Choose the steps whose mean parameters are the named weights.

  Args:
    run: working directory of a run.
    weights: "mean" (of the best checkpoints, the paper's way; the latest one before any
      validation), "best", "latest", "ema" or a step.
    best: number of best checkpoints in the mean.

  Raises:
    RunError: there is no such checkpoint.
  """
  steps = checkpoint_steps(run)
  if not steps:
    raise RunError(f"{run} holds no checkpoint; has the run saved one yet?")
  if weights in ("latest", "ema"):
    return steps[-1:]
  if weights in ("mean", "best"):
    losses = valid_losses(run)
    finite = [step for step in steps if math.isfinite(losses.get(step, math.nan))]
    if weights == "best" and not finite:
      raise RunError(
        f"no checkpoint of {run} has a validation loss, so none is the best; choose "
        "latest, or wait for a validation"
      )
    ranked = sorted(finite, key=losses.__getitem__) or steps[-1:]
    return sorted(ranked[: best if weights == "mean" else 1])
  if weights.isdecimal() and int(weights) in steps:
    return [int(weights)]
  raise RunError(
    f'no weights "{weights}" in {run}; choose mean, best, latest, ema or one of the '
    f"steps {', '.join(map(str, steps))}"
  )


def load_params(run: Path, steps: Sequence[int], ema: bool = False) -> dict[str, Any]:
  """Read the mean of the parameters of some checkpoints, as host arrays.

  Args:
    run: working directory of a run.
    steps: checkpoints to average.
    ema: take the running mean of the parameters instead of the parameters.

  Raises:
    RunError: a checkpoint is damaged, or the run keeps no running mean.
  """
  total: Any = None
  for step in steps:
    params = _load_params(Path(run), step, ema)
    if total is None:
      total = jax.tree.map(lambda x: x.astype(np.float64), params)
    else:
      total = jax.tree.map(np.add, total, params)
  return jax.tree.map(lambda x: (x / len(steps)).astype(np.float32), total)


def _load_params(run: Path, step: int, ema: bool) -> dict[str, Any]:
  name = "ema" if ema else "params"
  try:
    return load_entry(run, step, name)
  except KeyError as error:
    raise RunError(
      f"{run / CHECKPOINTS / str(step)} keeps no running mean of its parameters "
      "(optimizer.ema was 0); choose other weights"
    ) from error


def load_entry(
  run: Path, step: int, name: str, typed: Callable[[Any], Any] = lambda tree: tree
) -> Any:
  """Read an entry of the state that a checkpoint holds, as host arrays.

  Args:
    run: working directory of a run.
    step: of the checkpoint.
    name: of the entry, see `mixit_jax.training.state.TrainState`.
    typed: makes what was saved of dicts and lists, which is all that Orbax reads.

  Raises:
    RunError: the checkpoint is damaged.
    KeyError: it has no such entry, or it is empty.
  """
  checkpoint = Path(run) / CHECKPOINTS / str(step)
  try:
    entry = typed(restore_tree(checkpoint / "state", name))
    saved = (read_meta(run, step) or {}).get("checksums", {})
    for path, found in checksums(entry).items():
      if saved.get(f".{name}{path}", found) != found:
        raise ValueError(f"{name}{path} is not what was saved")
    return entry
  except Exception as error:  # Orbax and TensorStore raise many types
    if isinstance(error, KeyError) and error.args == (name,):
      raise
    raise RunError(
      f"{checkpoint} is damaged ({storage_reason(error)}); choose other weights"
    ) from error


def is_full(error: BaseException | None) -> bool:
  """Tell whether a failure to write, or what caused it, is a full disk or quota."""
  while error is not None:
    if getattr(error, "errno", None) in _FULL:
      return True
    found = re.search(r"os_error_code='?(\d+)", str(error))
    if found and int(found[1]) in _FULL:
      return True
    error = error.__cause__ or error.__context__
  return False


def storage_reason(error: Exception) -> str:
  """Return what is wrong; of TensorStore's long messages only the system's reason."""
  _, colon, rest = str(error).partition(" [os_error_code")
  if colon:
    return str(error)[: -len(colon + rest)].rpartition(": ")[2]
  return one_line(error)[:200]
