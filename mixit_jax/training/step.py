"""One training step and one validation step, as pure functions for `jit`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from mixit_jax.devices.mesh import BATCH_AXES, average, gather, specs, state_sharding
from mixit_jax.devices.platforms import platform_of
from mixit_jax.separator.bs_locoformer import types_in_use
from mixit_jax.training.config import Config
from mixit_jax.training.losses import Losses, example_keys
from mixit_jax.training.objectives import Batch, Objective
from mixit_jax.training.optimizer import learning_rate, make_optimizer
from mixit_jax.training.state import Params, TrainState, split_params

# Trainable parameters, state of the optimizer, running mean.
Moving = tuple[Params, Any, Params | None]
Loss = Callable[[Params, Any, jax.Array | None], Losses]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_train_step(
  loss: Loss,
  optimizer: optax.GradientTransformationExtraArgs,
  config: Config,
  mesh: Mesh,
) -> TrainStep:
  """Make the update of one step.

  Every device computes the gradients of its own examples, with whole parameters. Only
  parameters and gradients travel between devices: gradients in float32, parameters in
  the type in which the model uses them, which changes no result.

  The batch is divided into `run.accumulation` parts whose mean gradient makes one
  update, so their number changes memory, not results. Dropout is drawn from (seed,
  index of the example). A non-finite loss or gradient leaves parameters and optimizer
  as they are and is counted.

  Args:
    loss: function of parameters, batch and dropout keys, see `losses`.
    optimizer: over the trainable parameters.
    config: the run's configuration.
    mesh: devices that hold state and batch.

  Returns:
    Function of (state, batch) to the next state and metrics, each a scalar or [N].
  """
  frozen, run = config.frozen, config.run
  platform = platform_of(mesh)
  model = config.model.settled(platform, training=True)
  update_if = _branch if platform == "cpu" else _choose
  dropout = max(config.model.dropout, config.model.attention_dropout) > 0

  def gradients(params: Params, batch: Batch) -> tuple[Params, dict[str, jax.Array]]:
    trainable, fixed = split_params(params, frozen)

    def mean_loss(trainable: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
      keys = example_keys(run.seed, batch.positions) if dropout else None
      values, metrics = loss({**trainable, **fixed}, batch, keys)
      return jnp.mean(values), jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)

    (value, metrics), grads = jax.value_and_grad(mean_loss, has_aux=True)(trainable)
    return grads, {"loss": value, **metrics}

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
    layout = state_sharding(state.params, mesh)
    trainable_layout, _ = split_params(layout, frozen)

    def on_each_device(params: Params, batch: Batch) -> Any:
      whole = gather(params, layout, types_in_use(model, params))
      grads, metrics = _accumulate(gradients, whole, batch, run.parts)
      return average(grads, trainable_layout), jax.lax.pmean(metrics, BATCH_AXES)

    grads, metrics = jax.shard_map(
      on_each_device,
      mesh=mesh,
      in_specs=(specs(layout), P(BATCH_AXES)),
      out_specs=(specs(trainable_layout), P()),
      check_vma=False,
    )(state.params, batch)
    grad_norm = optax.tree.norm(grads)
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(grad_norm)

    trainable, fixed = split_params(state.params, frozen)

    def update(moving: Moving) -> Moving:
      trainable, opt_state, ema = moving
      updates, opt_state = optimizer.update(grads, opt_state, trainable, norm=grad_norm)
      trainable = optax.apply_updates(trainable, updates)
      ema = _running_mean(ema, {**trainable, **fixed}, config.optimizer.ema)
      return trainable, opt_state, ema

    moving = trainable, state.opt_state, state.ema
    trainable, opt_state, ema = update_if(finite, update, moving)
    skipped = 1 - finite.astype(jnp.int32)
    rate = learning_rate(
      state.step - state.skipped, config.optimizer, run.steps_per_epoch
    )
    next_state = TrainState(
      step=state.step + 1,
      params={**trainable, **fixed},
      opt_state=opt_state,
      ema=ema,
      skipped=state.skipped + skipped,
      skipped_in_row=(state.skipped_in_row + 1) * skipped,
    )
    return next_state, {
      **metrics,
      "grad_norm": grad_norm,
      "learning_rate": rate,
      "skipped_steps": next_state.skipped,
      "skipped_in_row": next_state.skipped_in_row,
    }

  return step


def jit_train_step(
  objective: Objective, mesh: Mesh, state: TrainState
) -> jax.stages.Wrapped:
  """Compile the update of a run's step: sharded, its state donated.

  Args:
    objective: of the run.
    mesh: devices that hold state and batch.
    state: the run's state, or its layout.
  """
  config = objective.config
  optimizer = make_optimizer(config.optimizer, config.run.steps_per_epoch)
  return jax.jit(
    make_train_step(objective.loss, optimizer, config, mesh),
    donate_argnums=0,
    out_shardings=(state_sharding(state, mesh), None),
  )


def make_valid_step(
  loss: Loss, mesh: Mesh
) -> Callable[[Params, Batch, jax.Array], dict[str, jax.Array]]:
  """Make the sums over a validation batch, without dropout.

  Args:
    loss: function of parameters, batch and dropout keys, see `losses`.
    mesh: devices that divide the batch and hold whole parameters.

  Returns:
    Function of (params, batch, mask [B]) to sums of loss and metrics over the batch,
    and to the number of examples. A mask of 0 leaves padding out.
  """

  def step(params: Params, batch: Batch, mask: jax.Array) -> dict[str, jax.Array]:
    values, metrics = loss(params, batch, None)

    def masked(x: jax.Array) -> jax.Array:
      m = mask.reshape(-1, *(1,) * (x.ndim - 1))
      return jnp.sum(jnp.where(m > 0, x, 0.0), axis=0)

    sums = jax.tree.map(masked, {"loss": values, **metrics})
    return jax.lax.psum({**sums, "examples": jnp.sum(mask)}, BATCH_AXES)

  examples = P(BATCH_AXES)
  return jax.shard_map(
    step, mesh=mesh, in_specs=(P(), examples, examples), out_specs=P(), check_vma=False
  )


def _branch(condition: jax.Array, update: Callable[[Any], Any], old: Any) -> Any:
  """Update where a condition holds; a GPU would make the host wait for it."""
  return jax.lax.cond(condition, update, lambda x: x, old)


def _choose(condition: jax.Array, update: Callable[[Any], Any], old: Any) -> Any:
  """Do the same by choosing every value; XLA on CPU would copy the old ones first."""
  return jax.tree.map(lambda x, y: jnp.where(condition, x, y), update(old), old)


def _accumulate(
  gradients: Callable[[Params, Batch], tuple[Params, dict[str, jax.Array]]],
  params: Params,
  batch: Batch,
  parts: int,
) -> tuple[Params, dict[str, jax.Array]]:
  """Average gradients and metrics over equal parts of the batch, one by one."""
  if parts == 1:
    return gradients(params, batch)

  def add(total: Any, part: Batch) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, total, gradients(params, part)), None

  divided = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
  first = jax.tree.map(lambda x: x[0], divided)
  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradients, params, first)
  )
  total, _ = jax.lax.scan(add, zeros, divided)
  return jax.tree.map(lambda x: x / parts, total)


def _running_mean(mean: Params | None, params: Params, decay: float) -> Params | None:
  if mean is None:
    return None
  return jax.tree.map(lambda m, p: decay * m + (1 - decay) * p, mean, params)
