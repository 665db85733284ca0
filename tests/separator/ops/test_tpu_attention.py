"""The kernels for TPUs, run as plain JAX and lowered for a TPU, against the definition.

What the TPU's compiler makes of them is not run here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.separator.ops.attention import LONGEST_ON_TPU, self_attention
from mixit_jax.separator.ops.tpu_attention import attend_heads

BANDS, FRAMES = 62, 517  # lengths of the two paths; neither is a multiple of 8


def draw(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def by_definition(qkv, num_heads):
  parts = (x.reshape(*x.shape[:-1], num_heads, -1) for x in jnp.split(qkv, 3, -1))
  q, k, v = (jnp.swapaxes(x, 1, 2) for x in parts)
  weights = jax.nn.softmax(q @ jnp.swapaxes(k, 2, 3) / np.sqrt(q.shape[-1]), -1)
  return jnp.swapaxes(weights @ v, 1, 2).reshape(*qkv.shape[:2], -1)


def with_gradient(function, qkv, g):
  y, pull = jax.vjp(function, qkv)
  return y, pull(g.astype(y.dtype))[0]


@pytest.mark.parametrize(
  ("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 0.01)]
)
@pytest.mark.parametrize(
  ("sequences", "length", "features", "num_heads"),
  [(9, BANDS, 24, 3), (2, FRAMES, 16, 2), (1, 1, 8, 1)],
)
def test_values_and_gradients_follow_from_the_definition(
  sequences, length, features, num_heads, dtype, tolerance
):
  qkv = jnp.asarray(2 * draw(0, sequences, length, 3 * features), dtype)
  g = jnp.asarray(draw(1, sequences, length, features), dtype)
  found = with_gradient(lambda x: attend_heads(x, num_heads, True), qkv, g)
  exact = with_gradient(
    lambda x: by_definition(x, num_heads), *(x.astype(jnp.float32) for x in (qkv, g))
  )
  for ours, theirs in zip(found, exact, strict=True):
    assert ours.dtype == dtype
    error = np.linalg.norm(ours.astype(jnp.float32) - theirs)
    assert error <= tolerance * np.linalg.norm(theirs) + 1e-7


def test_large_logits_stay_finite_and_choose_one_key():
  qkv = 100 * draw(0, 1, 5, 12)
  for array in with_gradient(lambda x: attend_heads(x, 2, True), qkv, draw(1, 1, 5, 4)):
    assert np.isfinite(array).all()


def lowered_for_tpu(length, kernel="pallas"):
  x = jax.ShapeDtypeStruct((1, 2, length, 128), jnp.bfloat16)
  projection = jax.ShapeDtypeStruct((128, 3 * 128), jnp.bfloat16)

  def attended(x, projection):
    return jnp.sum(self_attention(x, projection, 8, None, 0.0, kernel))

  step = jax.jit(jax.value_and_grad(attended))
  exported = jax.export.export(step, platforms=["tpu"])(x, projection)
  return exported.mlir_module().count("tpu_custom_call")


def test_a_tpu_gets_the_kernels_up_to_the_length_that_it_holds():
  assert lowered_for_tpu(FRAMES) == 2  # forward and backward
  assert lowered_for_tpu(LONGEST_ON_TPU + 1) == 0
  assert lowered_for_tpu(FRAMES, kernel="xla") == 0
