"""Correlation along sequences, its gradients, types and sharding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from mixit_jax.separator.ops import convolution
from mixit_jax.separator.ops.convolution import correlate


def draw(*shape):
  return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def by_definition(x, kernel, full):
  padding = len(kernel) - 1 if full else 0
  x = jnp.pad(x, ((0, 0), (0, 0), (padding, padding), (0, 0)))
  length = x.shape[2] - len(kernel) + 1
  return sum(x[:, :, j : j + length] @ tap for j, tap in enumerate(kernel))


def with_gradients(function, full):
  """Result, and gradients with respect to input and kernel of a weighted sum."""

  def evaluate(x, kernel):
    y, pull = jax.vjp(lambda x, kernel: function(x, kernel, full), x, kernel)
    weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
    return (y, *pull(weights))

  return evaluate


@pytest.mark.parametrize("form", ["taps", "columns"])
@pytest.mark.parametrize("full", [False, True])
def test_products_give_the_same(form, full):
  x, kernel = draw(2, 3, 9, 5), draw(4, 5, 6)
  found = with_gradients(partial(correlate, form=form), full)(x, kernel)
  expected = with_gradients(by_definition, full)(x, kernel)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["_gradients", "_gradients_on_cpu"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("length", [4, 9])
def test_values_and_gradients_follow_from_the_definition(
  variant, full, length, monkeypatch
):
  # Both variants on this platform.
  gradients = getattr(convolution, variant)
  monkeypatch.setattr(convolution, "_gradients", gradients)
  monkeypatch.setattr(convolution, "_gradients_on_cpu", gradients)
  x, kernel = draw(2, 3, length, 5), draw(4, 5, 6)
  found = jax.jit(with_gradients(correlate, full))(x, kernel)
  expected = jax.jit(with_gradients(by_definition, full))(x, kernel)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["convolution", "taps", "columns"])
def test_types_are_kept(form):
  x, kernel = draw(1, 2, 5, 3).astype(jnp.bfloat16), draw(2, 3, 4).astype(jnp.bfloat16)
  y, pull = jax.vjp(partial(correlate, form=form), x, kernel)
  assert y.dtype == jnp.bfloat16
  assert [gradient.dtype for gradient in pull(y)] == [jnp.bfloat16, jnp.bfloat16]


@pytest.mark.parametrize("full", [False, True])
def test_only_the_kernel_gradient_crosses_devices(full):
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  batch, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
  sharded = jax.jit(
    with_gradients(correlate, full),
    in_shardings=(batch, everywhere),
    out_shardings=(batch, batch, everywhere),
  )
  graph = sharded.lower(draw(8, 3, 9, 5), draw(4, 5, 6)).compile().as_text()
  assert "all-reduce" in graph
  for operation in ("all-gather", "all-to-all", "collective-permute"):
    assert operation not in graph
