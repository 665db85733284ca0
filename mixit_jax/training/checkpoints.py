"""Checkpoints of a run: Orbax, asynchronous, the latest and the best.

Each checkpoint is one atomic folder with the whole `TrainState` and a small JSON
document (`meta`: configuration, fingerprint of the data, validation loss). A save that
is killed leaves no checkpoint, and the one before it stays.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from mixit_jax.errors import UserError
from mixit_jax.training.state import Params, TrainState

FOLDER = "checkpoints"
DAMAGED = "damaged_checkpoints"


class CheckpointError(UserError):
  """A checkpoint that is missing, damaged or of another run."""


class Checkpoints:
  """The checkpoints below a run's working directory, open for saving."""

  def __init__(self, workdir: Path, keep_latest: int = 2, keep_best: int = 5):
    self._workdir = Path(workdir).absolute()
    policies = [
      checkpoint_managers.LatestN(keep_latest),
      checkpoint_managers.BestN(
        get_metric_fn=_loss, reverse=True, n=keep_best,
        keep_checkpoints_without_metrics=False,
      ),
    ]  # fmt: skip
    self._manager = ocp.CheckpointManager(
      self._workdir / FOLDER,
      # Known handlers: a new process must read the metadata of what another wrote.
      item_handlers={
        "state": ocp.StandardCheckpointHandler(),
        "meta": ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
        # Without a best_fn Orbax does not write the metrics.
        best_fn=_loss,
        best_mode="min",
        enable_async_checkpointing=True,
      ),
    )

  def save(
    self,
    step: int,
    state: TrainState,
    meta: dict[str, Any],
    valid_loss: float | None = None,
  ) -> None:
    """Starts a save; the state may be donated as soon as this returns.

    Raises:
      CheckpointError: an earlier save failed, e.g. because the disk is full.
    """
    if step in self._manager.all_steps():
      return
    metrics = None if valid_loss is None else {"loss": valid_loss}
    try:
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
        ),
        metrics=metrics,
      )
    except (OSError, ValueError, RuntimeError) as error:
      raise CheckpointError(_save_failed(step, self._workdir, error)) from error

  def wait(self) -> None:
    """Waits for the save under way.

    Raises:
      CheckpointError: that save failed.
    """
    try:
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except (OSError, ValueError, RuntimeError) as error:
      raise CheckpointError(_save_failed(None, self._workdir, error)) from error

  def reached_preemption(self, step: int) -> bool:
    """Whether the cluster asked to stop; true on all hosts at the same step."""
    return self._manager.reached_preemption(step)

  def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest readable checkpoint.

    A damaged one is reported, set aside in `damaged_checkpoints`, and the one before
    it is used.

    Args:
      like: `jax.ShapeDtypeStruct` leaves with shapes, types and shardings.

    Returns:
      State and meta, or None where there is no checkpoint yet.

    Raises:
      CheckpointError: the checkpoint holds another model, or none is readable.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      try:
        return self._restore(step, like)
      except UserError:
        raise
      except Exception as error:  # Orbax and TensorStore raise many kinds
        logging.warning(
          "checkpoint %d in %s is damaged and set aside in %s (%s)",
          step, self._workdir / FOLDER, DAMAGED, _first_line(error),
        )  # fmt: skip
        self._set_aside(step)
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
    return restored["state"], restored["meta"]

  def _set_aside(self, step: int) -> None:
    if jax.process_index() == 0:
      target = epath.Path(self._workdir / DAMAGED / str(step))
      target.parent.mkdir(parents=True, exist_ok=True)
      if target.exists():
        target.rmtree()
      (epath.Path(self._workdir) / FOLDER / str(step)).rename(target)
    if jax.process_count() > 1:
      from jax.experimental import multihost_utils

      multihost_utils.sync_global_devices("damaged checkpoint set aside")
    self._manager.reload()

  def close(self) -> None:
    """Waits for the save under way and closes."""
    self.wait()
    self._manager.close()


def checkpoint_steps(run: Path) -> list[int]:
  """Steps of the finished checkpoints of a run, ascending."""
  folder = Path(run) / FOLDER
  if not folder.is_dir():
    return []
  # A checkpoint folder gets its plain number as name only when it is complete.
  return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())


def valid_losses(run: Path) -> dict[int, float]:
  """Validation loss of each checkpoint that has one."""
  losses = {}
  for step in checkpoint_steps(run):
    file = Path(run) / FOLDER / str(step) / "metrics" / "metrics"
    if file.is_file():
      losses[step] = float(json.loads(file.read_text())["loss"])
  return losses


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
      f"{checkpoint} is damaged ({_first_line(error)}); choose other weights"
    ) from error


def _loss(metrics: Any) -> float:
  return metrics["loss"]


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


def _save_failed(step: int | None, workdir: Path, error: Exception) -> str:
  what = "a checkpoint" if step is None else f"the checkpoint of step {step}"
  return (
    f"{what} could not be written to {workdir / FOLDER} ({_first_line(error)}); "
    "earlier checkpoints are intact. Free some space and start again: the run resumes"
  )


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
