"""Dropout whose masks follow from one key per example.

Every value hashes its own place. Nothing is drawn ahead: XLA computes the mask in the
loop that uses it, forward and again backward. Words of `jax.random.bits` went through
memory, a tenth of the traffic of a training step.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax


def fold_in_each(keys: Array | None, data: int | Array) -> Array | None:
  """Fold a number into every key [B]; None stays None."""
  if keys is None:
    return None
  return jax.vmap(jax.random.fold_in, (0, None))(keys, data)


def dropout(x: Array, rate: float, keys: Array | None, site: int) -> Array:
  """Set values to zero at random, with masks that follow from each example's key.

  Args:
    x: values [B, ..., D].
    rate: share of the values to drop.
    keys: one key per example [B], or None for no dropout.
    site: number of this place among those that share the keys.

  Returns:
    values of the same shape and expectation.
  """
  if keys is None or rate == 0:
    return x
  kept = _words(keys, site, x.shape) >= jnp.uint32(round(rate * 2**32))
  return jnp.where(kept, x * (1 / (1 - rate)), jnp.zeros((), x.dtype))


def _words(keys: Array, site: int, shape: tuple[int, ...]) -> Array:
  """Return random words of 32 bits for values of a shape [B, ..., D].

  Each row of D values is a sequence of its own: the hashes of start + d * step, where
  start and step are hashes of the row's number and of 64 bits of the example's key. The
  upper bits are the better ones.
  """
  per_example = (-1, *(1,) * (len(shape) - 1))
  seeds = jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, site), (2,)))
  first, second = (seed.reshape(per_example) for seed in seeds(keys).T)
  rows = jnp.arange(math.prod(shape[1:-1]), dtype=jnp.uint32)
  rows = rows.reshape(1, *shape[1:-1], 1)
  start = _hash(_hash(rows + first) ^ second)
  step = _hash(start ^ first) | 1
  # One of each per row: not to be computed again for each of its values.
  start, step = lax.optimization_barrier((start, step))
  word = start + step * jnp.arange(shape[-1], dtype=jnp.uint32).reshape(
    (1,) * (len(shape) - 1) + (-1,)
  )
  # C. Wellons's lowbias32 without its last step, which leaves the upper bits alone.
  word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
  return (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)


def _hash(word: Array) -> Array:
  """Mix the bits of words, one to one: C. Wellons's triple32."""
  word = (word ^ (word >> 17)) * jnp.uint32(0xED5AD4BB)
  word = (word ^ (word >> 11)) * jnp.uint32(0xAC4C1B51)
  word = (word ^ (word >> 15)) * jnp.uint32(0x31848BAB)
  return word ^ (word >> 14)
