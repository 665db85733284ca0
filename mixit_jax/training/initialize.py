"""The state before the first step: random, or from other weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mixit_jax.devices.mesh import state_sharding
from mixit_jax.errors import ConfigError, UserError
from mixit_jax.separator import init
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.outputs import select_outputs, sum_outputs
from mixit_jax.training.choosing import choose_outputs
from mixit_jax.training.config import Config
from mixit_jax.training.moments import (
  adapted_moments,
  check_moments,
  find_moments,
  read_moments,
  with_moments,
)
from mixit_jax.training.objectives import Objective
from mixit_jax.training.optimizer import make_optimizer
from mixit_jax.training.state import Params, TrainState, new_state
from mixit_jax.weights.folder import Weights
from mixit_jax.weights.runs import describe_weights, read_weights

# What may differ where outputs are selected, summed up or drawn anew.
_OUTPUTS = ("num_sources", "num_masks")


def state_layout(config: Config, mesh: Mesh) -> TrainState:
  """Describe the run's state: shapes, types and shardings, nothing allocated."""
  shapes = jax.eval_shape(lambda: _build(config, _random_params(config)))
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    shapes,
    state_sharding(shapes, mesh),
  )


def initial_state(objective: Objective, workdir: Path, mesh: Mesh) -> TrainState:
  """Create the state before the first step, sharded.

  With `init.run` the parameters are those of that run; if it has more outputs than
  stems are wanted, they are selected or summed up first (`choose_outputs`), unless the
  decoder is drawn anew. With `init.optimizer` = "keep" Adam's moments go along.

  Raises:
    UserError: the weights or moments are missing, damaged or of another architecture.
  """
  config = objective.config
  shardings = jax.tree.map(lambda leaf: leaf.sharding, state_layout(config, mesh))
  if not config.init.run:
    return jax.jit(
      lambda: _build(config, _random_params(config)), out_shardings=shardings
    )()
  weights = read_weights(Path(config.init.run), config.init.weights)
  _check_weights(objective, weights)
  adapt = _adaptation(objective, weights, workdir)
  params = _placed(adapt(weights.params), shardings.params)
  state = jax.jit(lambda p: _build(config, p), out_shardings=shardings)(params)
  if config.init.optimizer == "new":
    return state
  moments = adapted_moments(read_moments(config), weights.params, adapt, config)
  places = find_moments(shardings.opt_state)
  return with_moments(state, _placed(moments, places))


def check_start(objective: Objective) -> None:
  """Make sure that the run can start from `init.run`; nothing is loaded.

  Raises:
    UserError: there are no such weights, or they do not fit the configuration.
  """
  start = objective.config.init
  if start.run:
    try:
      weights = describe_weights(Path(start.run), start.weights)
    except UserError as error:
      raise ConfigError(f"init.run: {error}") from error
    _check_weights(objective, weights)
    if start.optimizer == "keep":
      check_moments(objective.config)


def _random_params(config: Config) -> Params:
  return init(config.model, jax.random.key(config.run.seed))


def _build(config: Config, params: Params) -> TrainState:
  optimizer = make_optimizer(config.optimizer, config.run.steps_per_epoch)
  return new_state(params, optimizer, config.frozen, ema=config.optimizer.ema > 0)


def _placed(tree: Any, shardings: Any) -> Any:
  """Place host arrays on the devices."""
  return jax.tree.map(
    lambda value, sharding: jax.make_array_from_callback(
      value.shape, sharding, lambda index: value[index]
    ),
    tree,
    shardings,
  )


def _adaptation(
  objective: Objective, weights: Weights, workdir: Path
) -> Callable[[Params], Params]:
  """Return what makes parameters of these weights ones of the run: an affine map."""
  if objective.config.init.decoder == "random":
    drawn = jax.device_get(_random_params(objective.config)["decoder"])
    return lambda params: {**params, "decoder": drawn}
  nameless = objective.stems is not None and weights.stems is None
  have, want = weights.config, objective.model
  if have.num_sources == want.num_sources and not nameless:
    sums = np.eye(want.num_sources)
  else:
    sums = choose_outputs(objective, weights, workdir)
  if want.num_masks:
    return lambda params: sum_outputs(params, have, sums)[1]
  outputs = np.argmax(sums, axis=1)
  return lambda params: select_outputs(params, have, outputs)[1]


def _check_weights(objective: Objective, weights: Weights) -> None:
  """Raise a ConfigError unless the run can start from these weights."""
  origin, stems = objective.config.init.run, objective.stems
  _check_architecture(weights.config, objective.config.model, origin)
  if objective.config.init.decoder == "random":
    return
  have, want = weights.config.num_sources, objective.model.num_sources
  masks, wanted = weights.config.num_masks, objective.model.num_masks
  if (masks or wanted) and wanted != (masks or have):
    raise ConfigError(
      f"{origin} has {masks or have} masks but model.num_masks = {wanted}; set "
      f"--config.model.num_masks={masks or have}"
    )
  if have < want:
    raise ConfigError(
      f"{origin} has {have} outputs but model.num_sources = {want}; start from a run "
      "with at least as many"
    )
  if have > want and stems is None:
    raise ConfigError(
      f"{origin} has {have} outputs but model.num_sources = {want}; outputs can be "
      "selected for stems only"
    )
  if have == want and stems and weights.stems not in (None, stems):
    raise ConfigError(
      f"the outputs of {origin} are {', '.join(weights.stems or ())} but data.stems is "
      f"{', '.join(stems)}; give them in the same order"
    )


def _check_architecture(
  have: SeparatorConfig, want: SeparatorConfig, origin: str
) -> None:
  """Raise a ConfigError, naming each key, unless the weights fit but for outputs."""
  a, b = have.architecture(), want.architecture()
  differing = [key for key in a if key not in _OUTPUTS and a[key] != b[key]]
  if differing:
    shown = "; ".join(
      f"model.{key}: {a[key]!r} there, {b[key]!r} here" for key in differing
    )
    raise ConfigError(f"{origin} is of another architecture ({shown})")
