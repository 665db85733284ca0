"""Checkpoints of a run: Orbax, asynchronous, the latest and the best.

Each checkpoint is one atomic folder with the whole `TrainState` and a small JSON
document (`meta`: configuration, fingerprint of the data, checksums). A save that is
killed leaves no checkpoint, and the one before it stays. The validation loss is added
later, so that a run that dies in a validation goes on with that validation.
"""

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from mixit_jax.errors import UserError
from mixit_jax.training.checksums import checksums
from mixit_jax.training.state import Params, TrainState

FOLDER = "checkpoints"
DAMAGED = "damaged_checkpoints"

_METRICS = "metrics"

# What Orbax and TensorStore raise when they cannot write.
_SAVE_ERRORS = (OSError, ValueError, RuntimeError)


class CheckpointError(UserError):
  """A checkpoint that is missing, damaged or of another run."""


class Checkpoints:
  """The checkpoints below a run's working directory, open for saving."""

  def __init__(self, workdir: Path, keep_latest: int = 2, keep_best: int = 5):
    self._workdir = Path(workdir).absolute()
    _drop_damaged_losses(self._workdir)
    _write_whole_arrays()
    policies = [
      checkpoint_managers.LatestN(keep_latest),
      checkpoint_managers.BestN(
        get_metric_fn=_loss,
        reverse=True,
        n=keep_best,
        keep_checkpoints_without_metrics=False,
      ),
    ]
    self._manager = ocp.CheckpointManager(
      self._workdir / FOLDER,
      # Known handlers: a new process must read the metadata of what another wrote.
      item_handlers={
        "state": ocp.StandardCheckpointHandler(),
        "meta": ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
        enable_async_checkpointing=True,
        # What a killed save has left.
        cleanup_tmp_directories=True,
      ),
    )

  def save(self, step: int, state: TrainState, meta: dict[str, Any]) -> None:
    """Starts a save; the state may be donated as soon as this returns.

    Raises:
      CheckpointError: this or an earlier save failed, e.g. because the disk is full.
    """
    if step in self._manager.all_steps():
      return
    meta = {**meta, "checksums": checksums(state)}
    try:
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
        ),
      )
    except _SAVE_ERRORS as error:
      raise CheckpointError(_save_failed(self._workdir, error)) from error

  def record_loss(self, step: int, loss: float) -> None:
    """Adds the validation loss to a checkpoint, atomically.

    Raises:
      CheckpointError: the checkpoint or the loss could not be written.
    """
    self.wait()
    target = _loss_file(self._workdir, step).parent
    if jax.process_index() == 0:
      temporary = self._workdir / f".{target.name}.{os.getpid()}"
      try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        (temporary / _METRICS).write_text(json.dumps({"loss": loss}))
        temporary.rename(target)
      except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(_save_failed(self._workdir, error)) from error
    _wait_for_all("validation loss recorded")
    self._manager.reload()

  def has_loss(self, step: int) -> bool:
    """Whether the validation loss of a checkpoint is recorded."""
    return _loss_file(self._workdir, step).is_file()

  def wait(self) -> None:
    """Waits for the save under way.

    Raises:
      CheckpointError: that save failed.
    """
    try:
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except _SAVE_ERRORS as error:
      raise CheckpointError(_save_failed(self._workdir, error)) from error

  def reached_preemption(self, step: int) -> bool:
    """Whether the cluster asked to stop; true on all hosts at the same step."""
    return self._manager.reached_preemption(step)

  def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest readable checkpoint.

    A damaged one is reported and the one before it is used; only then is it set aside
    in `damaged_checkpoints`.

    Args:
      like: `jax.ShapeDtypeStruct` leaves with shapes, types and shardings.

    Returns:
      State and meta, or None where there is no checkpoint yet.

    Raises:
      CheckpointError: the checkpoint holds another model, or none is readable.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    for place, step in enumerate(steps):
      try:
        restored = self._restore(step, like)
      except UserError:
        raise
      except Exception as error:  # Orbax and TensorStore raise many kinds
        if _is_no_damage(error):
          raise
        logging.warning(
          "checkpoint %d in %s is damaged (%s)",
          step,
          self._workdir / FOLDER,
          _reason(error),
        )
      else:
        self._set_aside(steps[:place])
        return restored
    if steps:
      raise CheckpointError(
        f"no checkpoint in {self._workdir / FOLDER} is readable (steps "
        f"{', '.join(map(str, steps))} are damaged); start in another --workdir"
      )
    return None

  def _restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
    stored = self._manager.item_metadata(step)["state"]
    if stored is None:
      raise ValueError("the state is missing")
    _check_shapes(_shapes(stored), _shapes(like), self._workdir / FOLDER / str(step))
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(like), meta=ocp.args.JsonRestore()
      ),
    )
    state, meta = restored["state"], restored["meta"]
    found = checksums(state)
    wrong = [name for name, value in meta["checksums"].items() if found[name] != value]
    if wrong:
      raise ValueError(f"{wrong[0]} is not what was saved")
    return state, meta

  def _set_aside(self, steps: Sequence[int]) -> None:
    for step in steps if jax.process_index() == 0 else ():
      target = self._workdir / DAMAGED / str(step)
      target.parent.mkdir(parents=True, exist_ok=True)
      if target.exists():
        shutil.rmtree(target)
      (self._workdir / FOLDER / str(step)).rename(target)
      logging.warning("damaged checkpoint %d is now in %s", step, target.parent)
    if steps:
      _wait_for_all("damaged checkpoints set aside")
      self._manager.reload()

  def close(self) -> None:
    """Waits for the save under way and closes.

    Raises:
      CheckpointError: that save failed.
    """
    try:
      self.wait()
    finally:
      with contextlib.suppress(*_SAVE_ERRORS):  # the one that `wait` has raised
        self._manager.close()


def _write_whole_arrays() -> None:
  """Keeps a single process from dividing its writing among its devices.

  Orbax compiles a program for each slice of each array to do so, which takes much
  longer than the writing. Several processes share the work, as Orbax means it to be.
  """
  handler = ocp.type_handlers.ArrayHandler(use_replica_parallel=jax.process_count() > 1)
  ocp.type_handlers.register_type_handler(jax.Array, handler, override=True)


def checkpoint_steps(run: Path) -> list[int]:
  """Steps of the finished checkpoints of a run, ascending."""
  folder = Path(run) / FOLDER
  if not folder.is_dir():
    return []
  # A checkpoint folder gets its plain number as name only when it is complete.
  return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())


def valid_losses(run: Path) -> dict[int, float]:
  """Validation loss of each checkpoint that has one."""
  losses = {step: _read_loss(_loss_file(run, step)) for step in checkpoint_steps(run)}
  return {step: loss for step, loss in losses.items() if loss is not None}


def choose_steps(run: Path, weights: str, best: int = 5) -> list[int]:
  """Steps whose parameters the named weights are the mean of.

  Args:
    run: working directory of a run.
    weights: "mean" (of the best checkpoints, the paper's way; the latest one where no
      validation has been), "best", "latest", "ema" or a step.
    best: how many of the best make the mean.

  Raises:
    CheckpointError: there is no such checkpoint.
  """
  steps = checkpoint_steps(run)
  if not steps:
    raise CheckpointError(f"{run} holds no checkpoint; has the run saved one yet?")
  if weights in ("latest", "ema"):
    return steps[-1:]
  if weights in ("mean", "best"):
    losses = {s: v for s, v in valid_losses(run).items() if np.isfinite(v)}
    ranked = sorted(losses, key=lambda step: losses[step]) or steps[-1:]
    return sorted(ranked[: best if weights == "mean" else 1])
  if weights.isdecimal() and int(weights) in steps:
    return [int(weights)]
  raise CheckpointError(
    f'no weights "{weights}" in {run}; choose mean, best, latest, ema or one of the '
    f"steps {', '.join(map(str, steps))}"
  )


def load_params(run: Path, steps: Sequence[int], ema: bool = False) -> Params:
  """Mean of the parameters of some checkpoints, as host arrays.

  Args:
    run: working directory of a run.
    steps: checkpoints to average.
    ema: take the running mean of the parameters instead of the parameters.

  Raises:
    CheckpointError: a checkpoint is damaged, or the run keeps no running mean.
  """
  total = None
  for step in steps:
    params = _load_params(Path(run).absolute() / FOLDER / str(step), ema)
    if total is None:
      total = jax.tree.map(lambda x: x.astype(np.float64), params)
    else:
      total = jax.tree.map(np.add, total, params)
  return jax.tree.map(lambda x: (x / len(steps)).astype(np.float32), total)


def _load_params(checkpoint: Path, ema: bool) -> Params:
  name = "ema" if ema else "params"
  try:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
      folder = checkpoint / "state"
      tree = checkpointer.metadata(folder).item_metadata.tree
      if not tree.get(name):
        raise CheckpointError(
          f"{checkpoint} keeps no running mean of its parameters (optimizer.ema was "
          "0); choose other weights"
        )
      item = {name: jax.tree.map(lambda m: np.zeros(m.shape, m.dtype), tree[name])}
      return checkpointer.restore(
        folder,
        args=ocp.args.PyTreeRestore(
          item=item,
          partial_restore=True,
          restore_args=ocp.checkpoint_utils.construct_restore_args(item),
        ),
      )[name]
  except CheckpointError:
    raise
  except Exception as error:  # Orbax and TensorStore raise many kinds
    raise CheckpointError(
      f"{checkpoint} is damaged ({_reason(error)}); choose other weights"
    ) from error


def _loss(metrics: Any) -> float:
  """Loss by which the best are chosen; NaN, which has no order, is the worst."""
  return metrics["loss"] if np.isfinite(metrics["loss"]) else np.inf


def _loss_file(run: Path, step: int) -> Path:
  # Where Orbax looks for the metrics of a checkpoint.
  return Path(run) / FOLDER / str(step) / _METRICS / _METRICS


def _read_loss(file: Path) -> float | None:
  """The loss in a file; None where it is missing or damaged."""
  try:
    return float(json.loads(file.read_text())["loss"])
  except (OSError, ValueError, KeyError, TypeError):
    return None


def _drop_damaged_losses(run: Path) -> None:
  """Takes losses away that cannot be read: Orbax would not open the checkpoints."""
  for step in checkpoint_steps(run) if jax.process_index() == 0 else ():
    file = _loss_file(run, step)
    if file.parent.exists() and _read_loss(file) is None:
      logging.warning("validation loss %s is damaged and removed", file)
      shutil.rmtree(file.parent)
  _wait_for_all("damaged validation losses dropped")


def _wait_for_all(what: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {_name(path): tuple(leaf.shape) for path, leaf in leaves}


def _name(path: tuple) -> str:
  """Dotted name of a leaf, the same for stored dicts and the live dataclasses."""
  names = (
    getattr(key, "name", getattr(key, "key", getattr(key, "idx", key))) for key in path
  )
  return ".".join(map(str, names))


def _check_shapes(stored: dict, wanted: dict, checkpoint: Path) -> None:
  for name in sorted(stored.keys() | wanted.keys()):
    if stored.get(name) != wanted.get(name):
      raise CheckpointError(
        f"{checkpoint} is of another model or optimizer: {name} is "
        f"{stored.get(name, 'absent')} there and {wanted.get(name, 'absent')} here; "
        "use the configuration of that run or another --workdir"
      )


def _is_no_damage(error: Exception) -> bool:
  """Whether files may be good although they cannot be restored."""
  codes = ("RESOURCE_EXHAUSTED", "PERMISSION_DENIED")
  unable = isinstance(error, (MemoryError, PermissionError))
  return unable or any(code in str(error) for code in codes)


def _save_failed(workdir: Path, error: Exception) -> str:
  return (
    f"a checkpoint could not be written to {workdir / FOLDER} ({_reason(error)}); "
    "earlier checkpoints are intact. Free some space and start again: the run resumes"
  )


def _reason(error: Exception) -> str:
  """What is wrong: of TensorStore's long messages what the system says."""
  found = re.search(r": ([^:]+) \[os_error_code", str(error), re.DOTALL)
  if found:
    return found[1]
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
