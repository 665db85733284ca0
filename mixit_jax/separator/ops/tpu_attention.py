"""Multi-head self-attention as two kernels for TPUs, which store no weights.

A TPU computes with 128 lanes, more than a head has features. So heads are never taken
apart: a product with the queries (or gradients) of one head, zero in the lanes of all
others, is that head's. Nothing is padded in memory or transposed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

# Memory of a core that the kernels may take, in bytes; theirs is what they need.
_MEMORY = 64 * 2**20
# Places that a core holds at a time, if sequences are short.
_PLACES_AT_ONCE = 512
# Up to this length heads are computed side by side: one alone waits for its products.
_SHORT = 128


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def attend_heads(qkv: Array, num_heads: int, interpret: bool = False) -> Array:
  """Let every place of a sequence attend to all of them.

  Args:
    qkv: queries, keys and values side by side [S, L, 3D].
    num_heads: heads, a divisor of D.
    interpret: run the kernel as plain JAX, on any platform.

  Returns:
    array [S, L, D].
  """
  return _call(_attend, num_heads, interpret, qkv.shape[-1] // 3, qkv)


def _forward(qkv: Array, num_heads: int, interpret: bool) -> tuple[Array, Array]:
  return attend_heads(qkv, num_heads, interpret), qkv


def _backward(
  num_heads: int, interpret: bool, qkv: Array, gradient: Array
) -> tuple[Array]:
  features = qkv.shape[-1]
  return (_call(_differentiate, num_heads, interpret, features, qkv, gradient),)


attend_heads.defvjp(_forward, _backward)


def _call(
  kernel: Callable[..., None],
  num_heads: int,
  interpret: bool,
  features: int,
  *arrays: Array,
) -> Array:
  """Run a kernel on arrays [S, L, ...], some sequences at a time."""
  sequences, length, _ = arrays[0].shape
  count = min(sequences, max(1, _PLACES_AT_ONCE // length))

  def block(width: int) -> pl.BlockSpec:
    return pl.BlockSpec((count, length, width), lambda i: (i, 0, 0))

  return pl.pallas_call(
    partial(kernel, num_heads),
    grid=(pl.cdiv(sequences, count),),
    in_specs=[block(array.shape[-1]) for array in arrays],
    out_specs=block(features),
    out_shape=jax.ShapeDtypeStruct((sequences, length, features), arrays[0].dtype),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel",), vmem_limit_bytes=_MEMORY
    ),
    interpret=interpret,
  )(*arrays)


def _attend(num_heads: int, qkv_ref: Any, y_ref: Any) -> None:
  count, length, features = y_ref.shape

  @pl.loop(0, count)
  def _(s: Array) -> None:
    q, k, v = _split(qkv_ref, s, num_heads)

    def attend(head: int | Array, y: Array) -> Array:
      own = _lanes(features, num_heads, head)
      logits = _product(jnp.where(own, q, 0), k, 1, 1)  # queries by keys
      weights = jnp.exp(logits - jnp.max(logits, 1, keepdims=True))
      total = jnp.sum(weights, 1, keepdims=True)
      return jnp.where(own, _product(weights.astype(v.dtype), v, 1, 0) / total, y)

    y = _each_head(attend, num_heads, length, jnp.zeros((length, features)))
    y_ref[s] = y.astype(y_ref.dtype)


def _differentiate(num_heads: int, qkv_ref: Any, g_ref: Any, gradient_ref: Any) -> None:
  count, length, features = g_ref.shape

  @pl.loop(0, count)
  def _(s: Array) -> None:
    q, k, v = _split(qkv_ref, s, num_heads)
    g = g_ref[s]

    def differentiate(
      head: int | Array, gradients: tuple[Array, ...]
    ) -> tuple[Array, ...]:
      q_gradient, k_gradient, v_gradient = gradients
      own = _lanes(features, num_heads, head)
      own_q, own_g = jnp.where(own, q, 0), jnp.where(own, g, 0)
      logits = _product(k, own_q, 1, 1)  # keys by queries
      weights = jnp.exp(logits - jnp.max(logits, 0, keepdims=True))
      weights /= jnp.sum(weights, 0, keepdims=True)
      weight_gradient = _product(v, own_g, 1, 1)
      shared = jnp.sum(weights * weight_gradient, 0, keepdims=True)
      logit_gradient = (weights * (weight_gradient - shared)).astype(q.dtype)
      return (
        jnp.where(own, _product(logit_gradient, k, 0, 0), q_gradient),
        k_gradient + _product(logit_gradient, own_q, 1, 0),
        v_gradient + _product(weights.astype(g.dtype), own_g, 1, 0),
      )

    zeros = (jnp.zeros((length, features)),) * 3
    parts = _each_head(differentiate, num_heads, length, zeros)
    scales = ((features // num_heads) ** -0.5, 1.0, 1.0)
    for n, (part, scale) in enumerate(zip(parts, scales, strict=True)):
      lanes = pl.ds(n * features, features)
      gradient_ref[s, :, lanes] = (part * scale).astype(gradient_ref.dtype)


def _split(qkv_ref: Any, s: Array, num_heads: int) -> tuple[Array, Array, Array]:
  """Read queries, keys and values [L, D] of a sequence; queries already scaled."""
  features = qkv_ref.shape[-1] // 3
  q, k, v = (qkv_ref[s, :, pl.ds(n * features, features)] for n in range(3))
  scaled = q.astype(jnp.float32) * (features // num_heads) ** -0.5
  return scaled.astype(q.dtype), k, v


def _lanes(features: int, num_heads: int, head: int | Array) -> Array:
  """Return which features belong to a head [1, D]."""
  size = features // num_heads
  lane = lax.broadcasted_iota(jnp.int32, (1, features), 1)
  return (lane >= head * size) & (lane < (head + 1) * size)


def _product(x: Array, y: Array, x_axis: int, y_axis: int) -> Array:
  """Multiply two matrices, summing over an axis of each, in float32."""
  axes = (((x_axis,), (y_axis,)), ((), ()))
  return lax.dot_general(x, y, axes, preferred_element_type=jnp.float32)


def _each_head(
  function: Callable[[int | Array, Any], Any], num_heads: int, length: int, carry: Any
) -> Any:
  """Pass the carry through the function of every head."""
  return lax.fori_loop(0, num_heads, function, carry, unroll=length <= _SHORT)
