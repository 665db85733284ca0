"""Softmax attention whose backward pass computes the weights again.

Only the result and the normalizer of every query are kept, as in FlashAttention (Dao et
al., 2022), but in plain products that run everywhere. What needs no dropout on the
weights may take cuDNN's fused attention instead (`layers.SelfAttention`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from mixit_jax.separator.dropout import dropout, fold_in_each

# What the forward pass leaves for the backward pass, for remat policies.
ATTENDED = "attended"

# Weights that a CPU computes at a time: more leave its caches.
_WEIGHTS_AT_ONCE = 2**19


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend(q: Array, k: Array, v: Array, keys: Array | None, rate: float) -> Array:
  """Attention of many sequences, each for itself.

  Args:
    q: queries [S, B, L, E], S sequences of every example.
    k: keys [S, B, L, E].
    v: values [S, B, L, E].
    keys: dropout keys [B], or None for no dropout.
    rate: share of the weights to drop.

  Returns:
    Values [S, B, L, E], weighted by the softmax of q k / sqrt(E), in the type of v.
  """
  return _forward(q, k, v, keys, rate)[0]


def _forward(
  q: Array, k: Array, v: Array, keys: Array | None, rate: float
) -> tuple[Array, Any]:
  def group(numbers: Array, q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    logits = _logits(q, k)
    largest = jnp.max(logits, -1, keepdims=True)
    weights = jnp.exp(logits - largest)
    total = jnp.sum(weights, -1, keepdims=True)
    weights = _drop(weights.astype(v.dtype), rate, keys, numbers)
    y = jnp.einsum("...ij,...je->...ie", weights, v) / total
    return y.astype(v.dtype), largest + jnp.log(total)

  y, normalizer = _map_in_groups(group, q, k, v)
  y = checkpoint_name(y, ATTENDED)
  normalizer = checkpoint_name(normalizer, ATTENDED)
  return y, (q, k, v, keys, y, normalizer)


def _backward(rate: float, saved: Any, gradient: Array) -> tuple:
  q, k, v, keys, y, normalizer = saved

  def group(
    numbers: Array, q: Array, k: Array, v: Array, y: Array, normalizer: Array, g: Array
  ) -> tuple[Array, Array, Array]:
    weights = jnp.exp(_logits(q, k) - normalizer)
    dropped = _drop(weights.astype(v.dtype), rate, keys, numbers)
    v_gradient = jnp.einsum("...ij,...ie->...je", dropped, g)
    # Sum of all weights times their gradients: what the normalizer takes back.
    shared = jnp.sum(g.astype(jnp.float32) * y, -1, keepdims=True)
    weight_gradient = _drop(jnp.einsum("...ie,...je->...ij", g, v), rate, keys, numbers)
    logit_gradient = weights * (weight_gradient - shared) * _scale(q)
    logit_gradient = logit_gradient.astype(q.dtype)
    q_gradient = jnp.einsum("...ij,...je->...ie", logit_gradient, k)
    k_gradient = jnp.einsum("...ij,...ie->...je", logit_gradient, q)
    return q_gradient, k_gradient, v_gradient

  return *_map_in_groups(group, q, k, v, y, normalizer, gradient), None


attend.defvjp(_forward, _backward)


def _scale(q: Array) -> float:
  return q.shape[-1] ** -0.5


def _logits(q: Array, k: Array) -> Array:
  """Logits [..., L, L] in float32."""
  return jnp.einsum("...ie,...je->...ij", q * _scale(q), k).astype(jnp.float32)


def _drop(x: Array, rate: float, keys: Array | None, numbers: Array) -> Array:
  """Dropout of x [S, B, L, L], or [S, L, L] if B is 1.

  It follows from keys [B] and sequence numbers [S].
  """
  if keys is None or rate == 0:
    return x
  each = x.reshape(len(numbers), len(keys), *x.shape[-2:])
  drop = jax.vmap(lambda x, n: dropout(x, rate, fold_in_each(keys, n), 0))
  return drop(each, numbers).reshape(x.shape)


def _map_in_groups(function: Callable[..., Any], *arrays: Array) -> Any:
  """Maps a function over the first axis [S, B, L, ...], in groups where that is faster.

  Args:
    function: takes the numbers of the sequences of a group and their part of `arrays`,
      [S, L, ...] if B is 1: XLA on CPU fuses more around products of three axes.
    *arrays: [S, B, L, ...].
  """
  count, batch, length = arrays[0].shape[:3]
  if batch == 1:
    arrays = tuple(jnp.squeeze(array, 1) for array in arrays)
  numbers = jnp.arange(count)
  on_cpu = jax.default_backend() == "cpu"
  size = max(1, _WEIGHTS_AT_ONCE // (batch * length**2)) if on_cpu else count
  groups = -(-count // size)
  size = -(-count // groups)

  def divide(array: Array) -> Array:
    padding = ((0, groups * size - count),) + ((0, 0),) * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(groups, size, *array.shape[1:])

  if groups == 1:
    results = function(numbers, *arrays)
  else:
    divided = jax.tree.map(divide, (numbers, *arrays))
    results = lax.map(lambda group: function(*group), divided)
    results = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], results)
  return jax.tree.map(lambda x: x.reshape(count, batch, length, -1), results)
