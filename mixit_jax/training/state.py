"""The state of a run: everything that changes from step to step, as one pytree."""

from collections.abc import Iterable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

Params = dict[str, Any]


@flax.struct.dataclass
class TrainState:
  """All that a step reads and writes.

  Attributes:
    step: updates so far, int32 []. Skipped ones count too.
    params: parameters of the separator, float32.
    opt_state: state of the optimizer over the trainable parameters only.
    ema: running mean of the parameters, or None when the run keeps none.
    skipped: steps skipped for a non-finite loss or gradient, int32 [].
    skipped_in_row: of these, the latest in an unbroken row, int32 [].
  """

  step: jax.Array
  params: Params
  opt_state: optax.OptState
  ema: Params | None
  skipped: jax.Array
  skipped_in_row: jax.Array


def split_params(params: Params, frozen: Iterable[str]) -> tuple[Params, Params]:
  """Divide parameters into trainable and frozen ones, by top-level name."""
  frozen = set(frozen)
  trainable = {name: tree for name, tree in params.items() if name not in frozen}
  return trainable, {name: params[name] for name in frozen}


def new_state(
  params: Params,
  optimizer: optax.GradientTransformation,
  frozen: Iterable[str] = (),
  ema: bool = False,
) -> TrainState:
  """Make the state before the first step; frozen parameters get no optimizer state."""
  trainable, _ = split_params(params, frozen)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=optimizer.init(trainable),
    # A copy: donated buffers must not be shared between two leaves.
    ema=jax.tree.map(jnp.copy, params) if ema else None,
    skipped=jnp.zeros((), jnp.int32),
    skipped_in_row=jnp.zeros((), jnp.int32),
  )
