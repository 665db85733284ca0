"""Dropout whose masks follow from one key per example."""

import jax
import jax.numpy as jnp
from jax import Array


def fold_in_each(keys: Array | None, data: int | Array) -> Array | None:
  """Fold a number into every key [B]; None stays None."""
  if keys is None:
    return None
  return jax.vmap(jax.random.fold_in, (0, None))(keys, data)


def dropout(x: Array, rate: float, keys: Array | None, site: int) -> Array:
  """Set values to zero at random, with masks that follow from each example's key.

  A word of 32 random bits serves two values: its halves stand along the axis after the
  batch. (Halves side by side would need a bitcast, which is very slow on TPUs.)

  Args:
    x: values [B, S, ...].
    rate: share of the values to drop, rounded to a multiple of 1/65536.
    keys: one key per example [B], or None for no dropout.
    site: number of this place among those that share the keys.

  Returns:
    values of the same shape and expectation.
  """
  if keys is None or rate == 0:
    return x
  threshold = round(rate * 2**16)
  count, *rest = x.shape[1:]

  def draw(key: Array) -> Array:
    words = jax.random.bits(jax.random.fold_in(key, site), (-(-count // 2), *rest))
    return jnp.concatenate([words & 0xFFFF, words >> 16])[:count]

  kept = jax.vmap(draw)(keys) >= threshold
  return jnp.where(kept, x * (2**16 / (2**16 - threshold)), jnp.zeros((), x.dtype))
