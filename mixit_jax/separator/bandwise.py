"""Layers with own weights for every band: band split and mask decoder (paper 4.2)."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from mixit_jax.separator.bands import band_runs
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.layers import uniform_fan_in


class BandwiseNorm(nn.Module):
  """Group norm of every band over its features and all frames, in float32.

  Attributes:
    dtype: type of the result.
  """

  dtype: str

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Normalizes x [K, B, T, D]."""
    shape = (len(x), x.shape[-1])
    gain = self.param("gain", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    x = x.astype(jnp.float32)
    centered = x - jnp.mean(x, (2, 3), keepdims=True)
    variance = jnp.mean(centered**2, (2, 3), keepdims=True)
    normalized = centered * lax.rsqrt(variance + 1e-5)
    y = normalized * gain[:, None, None] + bias[:, None, None]
    return y.astype(self.dtype)


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
    """Kernels [K, D, features] and biases [K, features]."""
    init = uniform_fan_in(self.dim)
    kernel = self.param("kernel", init, (self.bands, self.dim, self.features))
    return kernel, self.param("bias", init, (self.bands, self.features))


def bandwise_dense(x: Array, weights: tuple[Array, Array]) -> Array:
  """Maps x [K, B, T, D] to [K, B, T, E] in its own type, each band for itself."""
  kernel, bias = (w.astype(x.dtype) for w in weights)
  return jnp.einsum("kbtd,kde->kbte", x, kernel) + bias[:, None, None]


def bandwise_columns(x: Array, weights: tuple[Array, Array]) -> Array:
  """Maps x [K, D, B, T] to [K, E, B, T] in its own type, each band for itself."""
  kernel, bias = (w.astype(x.dtype) for w in weights)
  if len(kernel) == 1:
    # XLA on CPU would transpose the weights of a batch of one for the backward pass.
    y = jnp.einsum("de,dbt->ebt", kernel[0], x[0])[None]
  else:
    y = jnp.einsum("kde,kdbt->kebt", kernel, x)
  return y + bias[:, :, None, None]


def composed(
  first: tuple[Array, Array], second: tuple[Array, Array]
) -> tuple[Array, Array]:
  """Weights of one linear layer that does what two in a row do."""
  product = partial(jnp.einsum, precision=lax.Precision.HIGHEST)
  kernel = product("kde,kef->kdf", first[0], second[0])
  return kernel, product("ke,kef->kf", first[1], second[0]) + second[1]


class BandSplit(nn.Module):
  """Turns the bins of every band into D features.

  Bands of equal width are computed together.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  @nn.compact
  def __call__(self, spectrogram: Array) -> Array:
    """Maps a complex spectrogram [B, C, T, F] to features [B, T, K, D]."""
    c = self.config
    x = jnp.moveaxis(spectrogram, 1, -1)
    x = jnp.concatenate([x.real, x.imag], -1)  # [B, T, F, 2C]
    features, start = [], 0
    for index, (count, width) in enumerate(band_runs(c.bands)):
      run = x[:, :, start : start + count * width]
      run = run.reshape(*x.shape[:2], count, width * x.shape[-1])
      run = jnp.moveaxis(run, 2, 0)
      run = BandwiseNorm(c.compute_dtype(), name=f"norm_{index}")(run)
      weights = BandwiseWeights(
        count, run.shape[-1], c.embed_dim, name=f"dense_{index}"
      )
      features.append(bandwise_dense(run, weights()))
      start += count * width
    return jnp.moveaxis(jnp.concatenate(features), 0, 2)


class MaskDecoder(nn.Module):
  """Turns the features of every band into complex masks of its bins.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps features [B, T, K, D] to masks [B, N, C, T, F], complex64."""
    c = self.config
    x = BandwiseNorm(c.compute_dtype(), name="norm")(jnp.moveaxis(x, 2, 0))
    # Bands first: one large matrix product for each. Frames last: what is cut and
    # joined below stays in long pieces.
    x = jnp.moveaxis(x, 3, 1)
    x = jnp.tanh(bandwise_columns(x, self._first_layer()))
    masks = []
    parts = (2, c.num_sources, c.num_channels)
    runs = band_runs(c.bands)
    # Split, not sliced: the gradient is one concatenation, no sum of padded parts.
    inputs = lax.split(x, [count for count, _ in runs])
    for index, ((count, width), run) in enumerate(zip(runs, inputs, strict=True)):
      features = 2 * math.prod(parts) * width
      weights = BandwiseWeights(count, run.shape[1], features, name=f"mask_{index}")
      masks.append(_gated_masks(bandwise_columns(run, weights()), parts))
    real, imag = jnp.swapaxes(jnp.concatenate(masks, 4), 4, 5).astype(jnp.float32)
    return lax.complex(real, imag)

  def _first_layer(self) -> tuple[Array, Array]:
    """Kernels [K, D, 4D] and biases [K, 4D] before the nonlinearity."""
    bands, dim = len(self.config.bands), self.config.embed_dim
    if self.has_variable("params", "folded"):
      return BandwiseWeights(bands, dim, 4 * dim, name="folded")()
    # No nonlinearity stands between these two layers.
    expand = BandwiseWeights(bands, dim, 4 * dim, name="expand")()
    mix = BandwiseWeights(bands, 4 * dim, 4 * dim, name="hidden")()
    return composed(expand, mix)


def fold(params: Mapping[str, Any]) -> dict[str, Any]:
  """Parameters of a separator for inference: two layers of the decoder are one.

  They separate as before, but do not compose the layers for every batch.
  """
  decoder = dict(params["decoder"])
  layers = (decoder.pop(name) for name in ("expand", "hidden"))
  weights = ((layer["kernel"], layer["bias"]) for layer in layers)
  kernel, bias = jax.jit(composed)(*weights)
  decoder["folded"] = {"kernel": kernel, "bias": bias}
  return {**params, "decoder": decoder}


# The backward pass keeps the input alone and computes the gate again.
@partial(jax.checkpoint, static_argnums=1)
def _gated_masks(run: Array, parts: tuple[int, int, int]) -> Array:
  """Maps values and gates [K, 2 * 2NCW, B, T] of K bands to masks [2, B, N, C, KW, T].

  Args:
    run: output of the last layer for bands of one width W.
    parts: 2 for real and imaginary part, N and C.
  """
  value, gate = jnp.split(run, 2, 1)
  mask = (value * nn.sigmoid(gate)).reshape(len(run), *parts, -1, *run.shape[2:])
  mask = jnp.transpose(mask, (1, 5, 2, 3, 0, 4, 6))
  return mask.reshape(*mask.shape[:4], -1, mask.shape[-1])
