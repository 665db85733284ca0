"""Layers in which every band has weights of its own."""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from mixit_jax.separator.config import SeparatorConfig


class BandwiseNorm(nn.Module):
  """Group norm of every band over its features and all frames, in float32.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Normalize x [K, B, T, D]."""
    shape = (len(x), x.shape[-1])
    gain = self.param("gain", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    x = x.astype(jnp.float32)
    centered = x - jnp.mean(x, (2, 3), keepdims=True)
    variance = jnp.mean(centered**2, (2, 3), keepdims=True)
    normalized = centered * lax.rsqrt(variance + 1e-5)
    y = normalized * gain[:, None, None] + bias[:, None, None]
    return y.astype(self.config.dtype)


class BandwiseWeights(nn.Module):
  """Weights of a linear layer for every band.

  Attributes:
    bands: number of bands K.
    dim: features D of its input.
    features: of its output.
  """

  bands: int
  dim: int
  features: int

  @nn.compact
  def __call__(self) -> tuple[Array, Array]:
    """Return kernels [K, D, features] and biases [K, features]."""
    init = uniform_fan_in(self.dim)
    kernel = self.param("kernel", init, (self.bands, self.dim, self.features))
    return kernel, self.param("bias", init, (self.bands, self.features))


def uniform_fan_in(fan_in: int) -> Callable[..., Array]:
  """Return PyTorch's default initializer: uniform in +-1/sqrt(fan_in)."""
  bound = 1 / math.sqrt(fan_in)

  def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def composed(
  first: tuple[Array, Array], second: tuple[Array, Array]
) -> tuple[Array, Array]:
  """Return the weights of one linear layer that does what two in a row do."""
  product = partial(jnp.einsum, precision=lax.Precision.HIGHEST)
  kernel = product("kde,kef->kdf", first[0], second[0])
  return kernel, product("ke,kef->kf", first[1], second[0]) + second[1]


def bandwise_columns(x: Array, kernel: Array, bias: Array) -> Array:
  """Map x [K, D, B, T] to [K, E, B, T] in its own type, each band on its own."""
  y = jnp.einsum("kde,kdbt->kebt", kernel.astype(x.dtype), x)
  return y + bias.astype(x.dtype)[:, :, None, None]
