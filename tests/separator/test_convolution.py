"""Correlation along sequences, its gradients and types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.separator.convolution import correlate


def draw(*shape):
  return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def by_definition(x, kernel, padding):
  x = jnp.pad(x, ((0, 0), (0, 0), (padding, padding), (0, 0)))
  length = x.shape[2] - kernel.shape[0] + 1
  return sum(x[:, :, j : j + length] @ tap for j, tap in enumerate(kernel))


@pytest.mark.parametrize("length", [4, 9])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_values_and_gradients_follow_from_the_definition(length, padding):
  x, kernel = draw(2, 3, length, 5), draw(4, 5, 6)

  @jax.jit
  def evaluate(x, kernel):
    found, pull = jax.vjp(lambda x, kernel: correlate(x, kernel, padding), x, kernel)
    expected, pull_expected = jax.vjp(
      lambda x, kernel: by_definition(x, kernel, padding), x, kernel
    )
    weights = jnp.cos(jnp.arange(found.size, dtype=jnp.float32)).reshape(found.shape)
    return (found, *pull(weights)), (expected, *pull_expected(weights))

  for found, expected in zip(*evaluate(x, kernel), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_types_are_kept():
  x, kernel = draw(1, 2, 5, 3).astype(jnp.bfloat16), draw(2, 3, 4).astype(jnp.bfloat16)
  y, pull = jax.vjp(correlate, x, kernel)
  assert y.dtype == jnp.bfloat16
  assert [gradient.dtype for gradient in pull(y)] == [jnp.bfloat16, jnp.bfloat16]
