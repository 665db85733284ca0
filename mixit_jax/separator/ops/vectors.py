"""Gains and biases: vectors that meet whole arrays of features."""

import jax.numpy as jnp
from jax import Array

from mixit_jax.devices.platforms import by_platform


def as_rank(vector: Array, rank: int) -> Array:
  """Return a vector [D] as [1, ..., 1, D], ready to meet features of that rank.

  In the scan over blocks a vector is a slice of a stack. XLA on CPU computes the place
  of the slice for every element of a loop, which makes the loop 5 times slower. There
  a product with the identity keeps the slice out of loops.
  """
  apart = by_platform(default=lambda v: v, cpu=_times_identity)(vector)
  return apart.reshape((1,) * (rank - 1) + vector.shape)


def _times_identity(vector: Array) -> Array:
  return vector @ jnp.eye(len(vector), dtype=vector.dtype)
