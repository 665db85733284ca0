"""AdamW with linear warm-up, stepwise decay and clipping (paper 4.3)."""

import jax
import jax.numpy as jnp
import optax

from mixit_jax.training.config import OptimizerConfig


def learning_rate(
  step: jax.Array, config: OptimizerConfig, steps_per_epoch: int
) -> jax.Array:
  """Compute the learning rate of a step.

  Linear from 0 to the peak over the warm-up, then constant until `constant_epochs`
  have passed since the start, then multiplied by `decay` every `decay_epochs` epochs
  (paper 4.3). Counted in steps of the global batch, so it means the same on any
  number of devices.

  Args:
    step: update, counted from 0. The first update already has a rate above 0.
    config: optimizer section.
    steps_per_epoch: steps in an epoch.

  Returns:
    float32 learning rate.
  """
  step = jnp.asarray(step, jnp.int32)
  start = max(config.warmup_steps, config.constant_epochs * steps_per_epoch)
  period = config.decay_epochs * steps_per_epoch
  decays = jnp.maximum(step - start, 0) // period
  warmup = jnp.minimum((step + 1) / max(config.warmup_steps, 1), 1.0)
  return (config.peak_rate * warmup * config.decay**decays).astype(jnp.float32)


def make_optimizer(
  config: OptimizerConfig, steps_per_epoch: int
) -> optax.GradientTransformationExtraArgs:
  """Make AdamW on all trainable parameters, after clipping of the global norm.

  Its `update` takes the norm of the gradients as `norm`.
  """
  return optax.chain(
    _clip_by_norm(config.clip_norm),
    optax.adamw(
      lambda count: learning_rate(count, config, steps_per_epoch),
      b1=config.b1,
      b2=config.b2,
      weight_decay=config.weight_decay,
    ),
  )


def _clip_by_norm(largest: float) -> optax.GradientTransformationExtraArgs:
  """Scale gradients whose global norm is above `largest` down to it.

  optax's own clipping computes the norm once more, in the branch of the step that
  updates: all gradients are read and written again, 15 % of the bytes of a step.
  """

  def update(
    updates: optax.Updates,
    state: optax.EmptyState,
    params: optax.Params | None = None,
    *,
    norm: jax.Array,
    **_: object,
  ) -> tuple[optax.Updates, optax.EmptyState]:
    factor = jnp.where(norm < largest, 1.0, largest / norm)
    return jax.tree.map(lambda x: x * factor, updates), state

  return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
