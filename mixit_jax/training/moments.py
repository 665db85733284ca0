"""Adam's moments of another run, for a start that keeps them (`init.optimizer`)."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
import optax

from mixit_jax.errors import ConfigError, UserError
from mixit_jax.training.config import Config, OptimizerConfig
from mixit_jax.training.optimizer import make_optimizer
from mixit_jax.training.state import Params, TrainState
from mixit_jax.weights.folder import format_of
from mixit_jax.weights.runs import choose_steps, describe_run, load_entry

Moments: TypeAlias = optax.ScaleByAdamState


def check_moments(config: Config) -> None:
  """Make sure that the run can start with the moments of `init.run`; nothing is loaded.

  Raises:
    ConfigError: there are none, or not of all that is to train.
  """
  run = Path(config.init.run)
  if format_of(run):
    raise ConfigError(
      f'init.optimizer = "keep" needs a run: {run} is a folder of weights, without '
      "moments"
    )
  there = describe_run(run).document["config"]["init"].get("freeze", "none")
  if there not in ("none", *config.frozen):
    raise ConfigError(
      f'init.optimizer = "keep": the {there} of {run} were frozen and have no moments; '
      "freeze them here too, or leave it out"
    )


def read_moments(config: Config) -> Moments:
  """Read the moments at the checkpoint of `init.weights`, of a mean at its last.

  Returns:
    the number of updates, and moments of what the run trained, as host arrays.

  Raises:
    UserError: the checkpoint is missing or damaged, or of another optimizer.
  """
  run = Path(config.init.run)
  step = choose_steps(run, config.init.weights, describe_run(run).keep_best)[-1]
  try:
    saved = load_entry(run, step, "opt_state", typed=_typed)
  except KeyError as error:
    raise UserError(f"{run} has no state of an optimizer at step {step}") from error
  return find_moments(saved)


def adapted_moments(
  moments: Moments, params: Params, adapt: Callable[[Params], Params], config: Config
) -> Moments:
  """Return moments for parameters that are adapted to other outputs.

  Args:
    moments: those of `params`.
    params: parameters that the other run ended with.
    adapt: an affine map of parameters. What it adds begins without moments.
    config: of the run that starts, whose frozen parameters need none.
  """
  added = adapt(jax.tree.map(np.zeros_like, params))

  def changed(tree: Params) -> Params:
    adapted = adapt(tree)
    return {
      group: jax.tree.map(np.subtract, adapted[group], added[group])
      for group in adapted
      if group not in config.frozen
    }

  # Sums of sums of outputs may weigh squares negatively.
  squares = jax.tree.map(lambda x: np.maximum(x, 0), changed(moments.nu))
  return moments._replace(mu=changed(moments.mu), nu=squares)


def find_moments(opt_state: Any) -> Moments:
  """Return Adam's part of a state of the optimizer, or of a tree of its structure."""
  parts = jax.tree.leaves(opt_state, is_leaf=_is_moments)
  return next(part for part in parts if _is_moments(part))


def with_moments(state: TrainState, moments: Moments) -> TrainState:
  """Return the state with other moments."""
  replaced = jax.tree.map(
    lambda part: moments if _is_moments(part) else part,
    state.opt_state,
    is_leaf=_is_moments,
  )
  return dataclasses.replace(state, opt_state=replaced)


def _is_moments(part: Any) -> bool:
  return isinstance(part, optax.ScaleByAdamState)


def _typed(saved: Any) -> optax.OptState:
  """Restore the types of a state of the optimizer, which Orbax saved as plain ones."""
  [params] = [
    part["mu"]
    for part in jax.tree.leaves(saved, is_leaf=lambda p: isinstance(p, dict))
    if isinstance(part, dict) and "mu" in part
  ]
  empty = jax.eval_shape(make_optimizer(OptimizerConfig(), 1).init, params)
  return jax.tree.unflatten(jax.tree.structure(empty), jax.tree.leaves(saved))
