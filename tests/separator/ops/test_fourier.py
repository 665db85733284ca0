"""Transforms of the last axis, their gradients and their sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from mixit_jax.separator.ops.fourier import irfft, rfft

SIZE = 16


def signal():
  return np.random.default_rng(0).standard_normal((8, 3, SIZE), np.float32)


def spectrum():
  return np.fft.rfft(signal()).astype(np.complex64)


def compute(transform, x):
  """A transform of x and the gradient of a function of it."""

  def loss(x):
    y = transform(x)
    return jnp.sum(jnp.abs(y - 0.5) ** 3), y

  (_, y), gradient = jax.value_and_grad(loss, has_aux=True)(x)
  return y, gradient


@pytest.mark.parametrize(
  ("ours", "library", "x"),
  [(rfft, jnp.fft.rfft, signal()), (irfft, jnp.fft.irfft, spectrum())],
)
def test_values_and_gradients_are_the_library_s_and_no_device_gathers(ours, library, x):
  y, gradient = jax.jit(lambda x: compute(lambda x: library(x, SIZE), x))(x)
  mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
  sharding = NamedSharding(mesh, P(("a", "b")))
  sharded = jax.jit(
    lambda x: compute(lambda x: ours(x, SIZE), x),
    in_shardings=sharding,
    out_shardings=sharding,
  )
  found = sharded(x)
  np.testing.assert_allclose(found[0], y, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(found[1], gradient, rtol=1e-4, atol=1e-4)
  assert "all-gather" not in sharded.lower(x).compile().as_text()
