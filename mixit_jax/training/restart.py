"""What a run goes on from: everything is checked here, and nothing is changed."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from jax.sharding import Mesh

from mixit_jax.errors import UserError
from mixit_jax.training.checkpoints import (
  CheckpointError,
  check_shapes,
  is_no_damage,
  item_handlers,
)
from mixit_jax.training.config import Config
from mixit_jax.training.initialize import state_layout
from mixit_jax.training.objectives import Objective, make_objective
from mixit_jax.training.state import TrainState
from mixit_jax.training.workdir import check_workdir, stored_config
from mixit_jax.weights.checksums import checksums
from mixit_jax.weights.runs import (
  CHECKPOINTS,
  RunError,
  checkpoint_steps,
  read_meta,
  storage_reason,
)


class Past(NamedTuple):
  """What a run goes on from.

  Attributes:
    state: of the newest readable checkpoint.
    meta: what that checkpoint says of itself.
    damaged: steps of later checkpoints, which cannot be read.
  """

  state: TrainState
  meta: dict[str, Any]
  damaged: tuple[int, ...]


def find_past(
  config: Config, objective: Objective, workdir: Path, mesh: Mesh
) -> Past | None:
  """Find what a run goes on from; None where it has no checkpoint yet.

  Args:
    config: of the run, as it was asked for.
    objective: of the run, settled for its devices.
    workdir: its folder.
    mesh: its devices.

  Raises:
    UserError: the folder belongs to another configuration, the data to another run, or
      no checkpoint is readable.
  """
  check_workdir(workdir, config)
  steps = checkpoint_steps(workdir)
  metas = (meta for step in reversed(steps) if (meta := read_meta(workdir, step)))
  if meta := next(metas, None):
    _check_data(objective, workdir, mesh, meta)
  return restore(workdir, state_layout(config, mesh)) if steps else None


def restore(workdir: Path, like: TrainState) -> Past:
  """Restore the newest readable checkpoint; damaged ones are reported.

  Args:
    workdir: of a run that has checkpoints.
    like: `jax.ShapeDtypeStruct` leaves with shapes, types and shardings.

  Raises:
    CheckpointError: the checkpoint holds another model, or none is readable.
  """
  folder = Path(workdir).absolute() / CHECKPOINTS
  options = ocp.CheckpointManagerOptions(read_only=True)
  damaged: list[int] = []
  with ocp.CheckpointManager(
    folder, item_handlers=item_handlers(), options=options
  ) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        return Past(*_restore(manager, step, like, folder), tuple(damaged))
      except UserError:
        raise
      except Exception as error:  # Orbax and TensorStore raise many kinds
        if is_no_damage(error):
          raise
        logging.warning(
          "checkpoint %d in %s is damaged (%s)", step, folder, storage_reason(error)
        )
        damaged.append(step)
  raise CheckpointError(
    f"no checkpoint in {folder} is readable (steps {', '.join(map(str, damaged))} are "
    "damaged); start in another --workdir"
  )


def _restore(
  manager: ocp.CheckpointManager, step: int, like: TrainState, folder: Path
) -> tuple[TrainState, dict[str, Any]]:
  stored = manager.item_metadata(step)["state"]
  if stored is None:
    raise ValueError("the state is missing")
  check_shapes(stored, like, folder / str(step))
  restored = manager.restore(
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


def _check_data(
  objective: Objective, workdir: Path, mesh: Mesh, meta: Mapping[str, Any]
) -> None:
  """Raise a RunError where a run would go on with other data.

  The fingerprint in the checkpoint is also one of seed, batch and the like. Changes of
  those are accepted or refused by their names, so here they are as they were.
  """
  config = objective.config
  if "data.shards" in config.run.allow_changes:
    return
  before: Config = stored_config(workdir).changed(data={"shards": config.data.shards})
  found = make_objective(before, mesh).fingerprint()
  if meta["data_fingerprint"] not in (found, objective.fingerprint()):
    raise RunError(
      f"{config.data.shards} is not the data that {workdir} has trained on, or it was "
      "prepared anew; restore it, use another --workdir, or name data.shards in "
      "--config.run.allow_changes"
    )
