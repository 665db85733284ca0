"""Multi-head self-attention, in a fused kernel (cuDNN, Pallas) or in plain products.

The plain variant computes its weights again in the backward pass: only the result and
the normalizer of every query are kept, as in FlashAttention (Dao et al., 2022).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from mixit_jax.devices.platforms import by_platform
from mixit_jax.separator.ops.dropout import dropout, fold_in_each

# Names of what the forward pass keeps for the backward pass, for remat policies.
QKV, ATTENDED = "qkv", "attended"

# Of cuDNN the same is not within reach of a name: its forward kernel's primitive.
_FUSED_FORWARD = "dot_product_attention_fwd_wrapper"

# Longest sequences of the kernel for TPUs: one head's weights fit into a core's memory.
LONGEST_ON_TPU = 1100

# Weights that a CPU computes at a time: more leave its caches.
_WEIGHTS_AT_ONCE = 2**19


def self_attention(
  x: Array,
  projection: Array,
  num_heads: int,
  keys: Array | None,
  rate: float,
  kernel: str,
) -> Array:
  """Let every place of a sequence attend to all of them.

  Args:
    x: sequences [B, S, L, D].
    projection: weights that make queries, keys and values, side by side [D, 3E].
    num_heads: heads, a divisor of E.
    keys: dropout keys [B], or None for no dropout.
    rate: share of the weights to drop.
    kernel: "cudnn" (GPU, bfloat16) or "pallas" (TPU), which store no weights and know
      no dropout, or "xla". Sequences too long for "pallas" take "xla".

  Returns:
    array [B, S, L, E].
  """
  batch, sequences, length, _ = x.shape
  one_axis = (batch * sequences, length, -1)
  if kernel == "cudnn":
    # One product more for each, but none is cut out of a larger one.
    q, k, v = (
      checkpoint_name(x @ part, QKV).reshape(one_axis)
      for part in jnp.split(projection, 3, -1)
    )
    return _attend_by_cudnn(q, k, v, num_heads).reshape(*x.shape[:3], -1)
  qkv = checkpoint_name(x @ projection, QKV)
  if kernel == "pallas" and length <= LONGEST_ON_TPU:
    # Here, because nothing else needs Pallas, which takes 0.1 s to import.
    from mixit_jax.separator.ops.tpu_attention import attend_heads

    x = attend_heads(qkv.reshape(one_axis), num_heads)
    return checkpoint_name(x.reshape(*qkv.shape[:3], -1), ATTENDED)
  parts = jnp.split(qkv, 3, -1)
  heads = (batch, sequences, length, num_heads, parts[0].shape[-1] // num_heads)
  q, k, v = (
    # As [heads S, B, L, D / heads].
    jnp.transpose(part.reshape(heads), (3, 1, 0, 2, 4)).reshape(
      -1, batch, length, heads[-1]
    )
    for part in parts
  )
  x = attend(q, k, v, keys, rate).reshape(num_heads, sequences, batch, length, -1)
  return jnp.transpose(x, (2, 1, 3, 0, 4)).reshape(*qkv.shape[:3], -1)


def is_fused_forward(primitive: Any, *_: Any, **__: Any) -> bool:
  """Policy of `jax.checkpoint` that saves what cuDNN's forward kernel returns."""
  return str(primitive) == _FUSED_FORWARD


def _attend_by_cudnn(q: Array, k: Array, v: Array, num_heads: int) -> Array:
  """Attend by cuDNN's kernel: queries, keys and values [S, L, E] to [S, L, E].

  JAX differentiates it for even lengths only: odd ones get a place that is not seen.
  """
  count, length, features = q.shape
  odd = length % 2
  seen = jnp.full(count, length, jnp.int32) if odd else None
  x = jax.nn.dot_product_attention(
    *(
      jnp.pad(part, ((0, 0), (0, odd), (0, 0))).reshape(
        count, length + odd, num_heads, -1
      )
      for part in (q, k, v)
    ),
    query_seq_lengths=seen,
    key_value_seq_lengths=seen,
    implementation="cudnn",
  )
  return x.reshape(count, length + odd, features)[:, :length]


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend(q: Array, k: Array, v: Array, keys: Array | None, rate: float) -> Array:
  """Weigh the values of many sequences, each on its own.

  Args:
    q: queries [S, B, L, E], S sequences of every example.
    k: keys [S, B, L, E].
    v: values [S, B, L, E].
    keys: dropout keys [B], or None for no dropout.
    rate: share of the weights to drop.

  Returns:
    values [S, B, L, E], weighted by the softmax of q k / sqrt(E), in the type of v.
  """
  return _forward(q, k, v, keys, rate)[0]


def _forward(
  q: Array, k: Array, v: Array, keys: Array | None, rate: float
) -> tuple[Array, Any]:
  def attend_group(
    numbers: Array, keys: Array | None, q: Array, k: Array, v: Array
  ) -> tuple[Array, Array]:
    logits = _logits(q, k)
    largest = jnp.max(logits, -1, keepdims=True)
    weights = jnp.exp(logits - largest)
    total = jnp.sum(weights, -1, keepdims=True)
    weights = _drop(weights.astype(v.dtype), rate, keys, numbers)
    y = jnp.einsum("...ij,...je->...ie", weights, v) / total
    return y.astype(v.dtype), largest + jnp.log(total)

  y, normalizer = _in_groups(attend_group, keys, q, k, v)
  y = checkpoint_name(y, ATTENDED)
  normalizer = checkpoint_name(normalizer, ATTENDED)
  return y, (q, k, v, keys, y, normalizer)


def _backward(rate: float, saved: Any, gradient: Array) -> tuple:
  q, k, v, keys, y, normalizer = saved

  def differentiate_group(
    numbers: Array,
    keys: Array | None,
    q: Array,
    k: Array,
    v: Array,
    y: Array,
    normalizer: Array,
    g: Array,
  ) -> tuple[Array, Array, Array]:
    weights = jnp.exp(_logits(q, k) - normalizer)
    dropped = _drop(weights.astype(v.dtype), rate, keys, numbers)
    v_gradient = jnp.einsum("...ij,...ie->...je", dropped, g)
    # Sum of all weights times their gradients: the part due to the normalizer.
    shared = jnp.sum(g.astype(jnp.float32) * y, -1, keepdims=True)
    weight_gradient = _drop(jnp.einsum("...ie,...je->...ij", g, v), rate, keys, numbers)
    logit_gradient = weights * (weight_gradient - shared) * _scale(q)
    logit_gradient = logit_gradient.astype(q.dtype)
    q_gradient = jnp.einsum("...ij,...je->...ie", logit_gradient, k)
    k_gradient = jnp.einsum("...ij,...ie->...je", logit_gradient, q)
    return q_gradient, k_gradient, v_gradient

  gradients = _in_groups(differentiate_group, keys, q, k, v, y, normalizer, gradient)
  return *gradients, None


attend.defvjp(_forward, _backward)


def _scale(q: Array) -> float:
  return q.shape[-1] ** -0.5


def _logits(q: Array, k: Array) -> Array:
  """Return logits [..., L, L] in float32."""
  return jnp.einsum("...ie,...je->...ij", q * _scale(q), k).astype(jnp.float32)


def _drop(x: Array, rate: float, keys: Array | None, numbers: Array) -> Array:
  """Drop out values of x [S, B, L, L], or [S, L, L] if B is 1.

  What is dropped follows from keys [B] and sequence numbers [S].
  """
  if keys is None or rate == 0:
    return x
  each = x.reshape(len(numbers), len(keys), *x.shape[-2:])
  drop = jax.vmap(lambda x, n: dropout(x, rate, fold_in_each(keys, n), 0))
  return drop(each, numbers).reshape(x.shape)


def _in_groups(function: Callable[..., Any], keys: Array | None, *arrays: Array) -> Any:
  """Apply a function to arrays [S, B, L, ...]: on CPUs group by group, else at once.

  Args:
    function: takes the numbers of the sequences of a group, keys, and the group's part
      of `arrays`.
    keys: dropout keys [B], or None.
    *arrays: [S, B, L, ...].
  """

  def at_once(keys: Array | None, *arrays: Array) -> Any:
    return function(jnp.arange(len(arrays[0])), keys, *arrays)

  on_cpu = partial(_group_by_group, function)
  return by_platform(default=at_once, cpu=on_cpu)(keys, *arrays)


def _group_by_group(
  function: Callable[..., Any], keys: Array | None, *arrays: Array
) -> Any:
  """Apply a function to as many sequences at a time as a CPU holds in its caches."""
  count, batch, length = arrays[0].shape[:3]
  if batch == 1:  # XLA on CPU fuses more around products of three axes
    arrays = tuple(jnp.squeeze(array, 1) for array in arrays)
  groups = math.ceil(count / max(1, _WEIGHTS_AT_ONCE // (batch * length**2)))
  size = math.ceil(count / groups)

  def divide(array: Array) -> Array:
    padding = ((0, groups * size - count),) + ((0, 0),) * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(groups, size, *array.shape[1:])

  divided = [divide(array) for array in (jnp.arange(count), *arrays)]
  results = lax.map(lambda part: function(part[0], keys, *part[1:]), divided)
  return jax.tree.map(
    lambda x: x.reshape(groups * size, batch, length, -1)[:count], results
  )
