"""Checkpoints of a run: Orbax, asynchronous, the latest and the best.

Each checkpoint is one atomic folder with the whole `TrainState` and a small JSON
document (`meta`: configuration, fingerprint of the data, checksums). A save that is
killed leaves no checkpoint, and the one before it stays. The validation losses are in
`valid_losses.json` beside the checkpoints: a run that dies in a validation goes on with
that validation.
"""

import contextlib
import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from mixit_jax.errors import UserError
from mixit_jax.files import nan_to_null, write_json
from mixit_jax.training.state import TrainState
from mixit_jax.weights.checksums import checksums
from mixit_jax.weights.runs import (
  CHECKPOINTS,
  LOSSES_FILE,
  is_full,
  storage_reason,
  valid_losses,
)

DAMAGED = "damaged_checkpoints"


def item_handlers() -> dict[str, Any]:
  """Return Orbax's handlers of the two parts of a checkpoint."""
  return {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}


# What Orbax and TensorStore raise when they cannot write.
_SAVE_ERRORS = (OSError, ValueError, RuntimeError)


class CheckpointError(UserError):
  """A checkpoint that is missing, damaged or of another run."""


class LatestAndBest:
  """Preservation policy: the latest checkpoints, and the best by validation loss.

  Attributes:
    losses: step to validation loss; without a loss, or with one that is not finite, a
      checkpoint is not among the best.
  """

  def __init__(self, keep_latest: int, keep_best: int, losses: dict[int, float]):
    self.losses = losses
    self._keep_latest, self._keep_best = keep_latest, keep_best

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any = None
  ) -> Sequence[bool]:
    """Tell which checkpoints stay; Orbax calls it before it deletes any."""
    steps = sorted(checkpoint.step for checkpoint in checkpoints)
    rated = [s for s in steps if math.isfinite(self.losses.get(s, math.nan))]
    best = sorted(rated, key=self.losses.__getitem__)[: self._keep_best]
    kept = {*steps[-self._keep_latest :], *best}
    return [checkpoint.step in kept for checkpoint in checkpoints]


class Checkpoints:
  """The checkpoints below a run's working directory, open for saving."""

  def __init__(
    self,
    workdir: Path,
    keep_latest: int = 2,
    keep_best: int = 5,
    damaged: Sequence[int] = (),
  ):
    """Open the checkpoints; what killed saves have left is removed.

    Args:
      workdir: folder of the run.
      keep_latest: latest checkpoints that are kept.
      keep_best: best checkpoints, by validation loss, that are kept.
      damaged: steps of checkpoints to set aside in `damaged_checkpoints`.
    """
    self._workdir = Path(workdir).absolute()
    self._policy = LatestAndBest(keep_latest, keep_best, valid_losses(self._workdir))
    _write_whole_arrays()
    self._manager = ocp.CheckpointManager(
      self._workdir / CHECKPOINTS,
      item_handlers=item_handlers(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=self._policy,
        enable_async_checkpointing=True,
        # What a killed save has left.
        cleanup_tmp_directories=True,
      ),
    )
    self._set_aside(damaged)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def save(self, step: int, state: TrainState, meta: dict[str, Any]) -> None:
    """Start a save; the state may be donated as soon as this returns.

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
    """Record the validation loss of a checkpoint, atomically.

    Raises:
      CheckpointError: the checkpoint or the loss could not be written.
    """
    self.wait()
    self._set_losses({**self._policy.losses, step: loss})

  @property
  def losses(self) -> dict[int, float]:
    """Step to loss of all validations, also of checkpoints that are gone."""
    return self._policy.losses

  def has_loss(self, step: int) -> bool:
    """Tell whether the validation loss of a checkpoint is recorded."""
    return step in self._policy.losses

  def wait(self) -> None:
    """Wait for the save under way.

    Raises:
      CheckpointError: that save failed.
    """
    try:
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except _SAVE_ERRORS as error:
      raise CheckpointError(_save_failed(self._workdir, error)) from error

  def settle(self) -> None:
    """Wait until all hosts know that the save under way is complete.

    The first process that ends may take the others with it, as srun has it.

    Raises:
      CheckpointError: that save failed.
    """
    self.wait()
    _wait_for_all("checkpoint complete")

  def reached_preemption(self, step: int) -> bool:
    """Tell whether the cluster asked to stop; the same on all hosts at a step."""
    return self._manager.reached_preemption(step)

  def _set_aside(self, steps: Sequence[int]) -> None:
    for step in steps if jax.process_index() == 0 else ():
      target = self._workdir / DAMAGED / str(step)
      target.parent.mkdir(parents=True, exist_ok=True)
      if target.exists():
        shutil.rmtree(target)
      (self._workdir / CHECKPOINTS / str(step)).rename(target)
      logging.warning("damaged checkpoint %d is now in %s", step, target.parent)
    if steps:
      losses = self._policy.losses
      self._set_losses({step: losses[step] for step in losses if step not in steps})
      self._manager.reload()

  def _set_losses(self, losses: dict[int, float]) -> None:
    if jax.process_index() == 0:
      try:
        write_json(self._workdir / LOSSES_FILE, nan_to_null(losses))
      except UserError as error:
        raise CheckpointError(_save_failed(self._workdir, error)) from error
    _wait_for_all("validation losses written")
    self._policy.losses = losses

  def close(self) -> None:
    """Wait for the save under way and close.

    Raises:
      CheckpointError: that save failed.
    """
    try:
      self.wait()
    finally:
      with contextlib.suppress(*_SAVE_ERRORS):  # the one that `wait` has raised
        self._manager.close()


def _write_whole_arrays() -> None:
  """Keep a single process from dividing its writing among its devices.

  Orbax compiles a program for each slice of each array to do so, which takes much
  longer than the writing. Several processes share the work, as Orbax means it to be.
  """
  handler = ocp.type_handlers.ArrayHandler(use_replica_parallel=jax.process_count() > 1)
  ocp.type_handlers.register_type_handler(jax.Array, handler, override=True)


def _wait_for_all(what: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {_name(path): tuple(leaf.shape) for path, leaf in leaves}


def _name(path: tuple) -> str:
  """Return the dotted name of a leaf, the same for stored dicts and dataclasses."""
  names = (
    getattr(key, "name", getattr(key, "key", getattr(key, "idx", key))) for key in path
  )
  return ".".join(map(str, names))


def check_shapes(found: Any, like: TrainState, checkpoint: Path) -> None:
  """Raise a CheckpointError unless the leaves of two states have the same shapes."""
  stored, wanted = _shapes(found), _shapes(like)
  for name in sorted(stored.keys() | wanted.keys()):
    if stored.get(name) != wanted.get(name):
      raise CheckpointError(
        f"{checkpoint} is of another model or optimizer: {name} is "
        f"{stored.get(name, 'absent')} there and {wanted.get(name, 'absent')} here; "
        "use the configuration of that run or another --workdir"
      )


def is_no_damage(error: Exception) -> bool:
  """Tell whether files may be good although they cannot be restored."""
  codes = ("RESOURCE_EXHAUSTED", "PERMISSION_DENIED")
  unable = isinstance(error, (MemoryError, PermissionError))
  return unable or any(code in str(error) for code in codes)


def _save_failed(workdir: Path, error: Exception) -> str:
  remedy = "free some space and" if is_full(error) else "once this is mended,"
  return (
    f"a checkpoint could not be written to {workdir / CHECKPOINTS} "
    f"({storage_reason(error)}); earlier checkpoints are intact: {remedy} start again, "
    "and the run goes on"
  )
