"""Checksums of arrays, the same on every number of devices and hosts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def checksums(tree: Any) -> dict[str, int]:
  """Compute a checksum of each leaf, by its path.

  Computed where the leaves are: a sum modulo 2^32 does not depend on its order, so it
  does not depend on how a leaf is divided over devices. Any change of one element
  changes it, others do but for one in 2^32.

  Args:
    tree: arrays with elements of 32 bits.
  """
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  names = [jax.tree_util.keystr(path) for path, _ in leaves]
  values = np.asarray(_sums([leaf for _, leaf in leaves]))
  return {name: int(value) for name, value in zip(names, values, strict=True)}


@jax.jit
def _sums(leaves: list[jax.Array]) -> jax.Array:
  return jnp.stack([_sum(leaf) for leaf in leaves])


def _sum(leaf: jax.Array) -> jax.Array:
  bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
  # The place is mixed in: exchanged elements show as well.
  place = jnp.zeros(leaf.shape, jnp.uint32)
  for axis, length in enumerate(leaf.shape):
    place = place * np.uint32(length) + jax.lax.broadcasted_iota(
      jnp.uint32, leaf.shape, axis
    )
  return jnp.sum(_mixed(bits ^ place * np.uint32(0x9E3779B9)), dtype=jnp.uint32)


def _mixed(x: jax.Array) -> jax.Array:
  """Map one to one so that every bit depends on all (the end of MurmurHash3)."""
  x = (x ^ x >> 16) * np.uint32(0x85EBCA6B)
  x = (x ^ x >> 13) * np.uint32(0xC2B2AE35)
  return x ^ x >> 16
