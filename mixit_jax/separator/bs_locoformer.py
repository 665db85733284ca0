"""The band-split TF-Locoformer: from a spectrogram to masks (paper 4.2).

A mixture's spectrogram is cut into bands of bins, each band becomes D features
(`BandSplit`), TF-Locoformer blocks model the features over bands and frames, and
`MaskDecoder` turns them into one complex mask per source and channel. `waveform`
converts between waveforms and spectrograms; `ops` computes the operations.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from mixit_jax.separator.bands import band_runs
from mixit_jax.separator.bandwise import (
  BandwiseNorm,
  BandwiseWeights,
  bandwise_columns,
  composed,
  uniform_fan_in,
)
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.ops.attention import (
  ATTENDED,
  QKV,
  is_fused_forward,
  self_attention,
)
from mixit_jax.separator.ops.convolution import correlate
from mixit_jax.separator.ops.dropout import dropout, fold_in_each
from mixit_jax.separator.ops.vectors import as_rank

# Results of the matrix products: a policy may save them and recompute the rest.
SAVED_PRODUCTS = ("expanded", "contracted", QKV, "projected", ATTENDED)

# Layers of the decoder without a nonlinearity between them.
COMPOSED = ("expand", "hidden")


class BSLocoformer(nn.Module):
  """The whole model.

  Its parameters have three entries: "band_split", "blocks" (every leaf stacked
  over the blocks) and "decoder".

  Attributes:
    config: sizes and how to compute, settled for a platform.

  Raises:
    ValueError: the type of the computation is not settled.
  """

  config: SeparatorConfig

  def setup(self) -> None:
    """Create band split, blocks and decoder."""
    c = self.config
    if c.dtype == "auto":
      raise ValueError('the dtype is "auto": call config.settled(platform) first')
    block = TFLocoformerBlock
    loop = c.scan_blocks != "off"
    if c.remat != "none":
      policies = jax.checkpoint_policies
      products = policies.save_from_both_policies(
        policies.save_only_these_names(*SAVED_PRODUCTS), is_fused_forward
      )
      policy = products if c.remat == "dots" else None
      block = nn.remat(block, prevent_cse=not loop, policy=policy)
    self.band_split = BandSplit(c)
    self.blocks = nn.scan(
      block,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      in_axes=(0, nn.broadcast),
      length=c.num_blocks,
      check_constancy_invariants=False,
      unroll=1 if loop else c.num_blocks,
    )(c)
    self.decoder = MaskDecoder(c)

  def __call__(self, spectrogram: Array, dropout_keys: Array | None = None) -> Array:
    """Compute the masks of a spectrogram.

    Args:
      spectrogram: of mixtures at unit level [B, C, T, F], complex64.
      dropout_keys: one random key per example [B], or None for no dropout. What is
        dropped in an example follows from its key alone.

    Returns:
      masks [B, N, C, T, F], complex64.
    """
    x = self.band_split(spectrogram)
    x, _ = self.blocks(x, jnp.arange(self.config.num_blocks), dropout_keys)
    return self.decoder(x)


def estimate_masks(
  config: SeparatorConfig,
  params: Mapping[str, Any],
  spectrogram: Array,
  dropout_keys: Array | None = None,
) -> Array:
  """Compute the masks of a spectrogram with given parameters, see `BSLocoformer`."""
  masks = BSLocoformer(config).apply({"params": params}, spectrogram, dropout_keys)
  return cast(Array, masks)


def types_in_use(config: SeparatorConfig, params: Any) -> Any:
  """Return the type in which the model uses each parameter, a tree of names of types.

  Norms and the two layers that are composed (`MaskDecoder`) are used in float32; the
  other layers round their parameters to the type of the computation first.

  Args:
    config: settled for a platform.
    params: parameters, or their layout.
  """

  def type_in_use(path: tuple[Any, ...], _: Any) -> str:
    names = [key.key for key in path]
    precise = any("norm" in name or name in COMPOSED for name in names)
    return "float32" if precise else config.dtype

  return jax.tree_util.tree_map_with_path(type_in_use, params)


class BandSplit(nn.Module):
  """Layer that turns the bins of every band into D features.

  Bands of equal width are computed together.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  @nn.compact
  def __call__(self, spectrogram: Array) -> Array:
    """Map a complex spectrogram [B, C, T, F] to features [B, T, K, D]."""
    c = self.config
    x = jnp.moveaxis(spectrogram, 1, -1)
    x = jnp.concatenate([x.real, x.imag], -1)  # [B, T, F, 2C]
    features, start = [], 0
    for index, (count, width) in enumerate(band_runs(c.bands)):
      run = x[:, :, start : start + count * width]
      run = run.reshape(*x.shape[:2], count, width * x.shape[-1])
      run = BandwiseNorm(c, name=f"norm_{index}")(jnp.moveaxis(run, 2, 0))
      dense = BandwiseWeights(count, run.shape[-1], c.embed_dim, name=f"dense_{index}")
      kernel, bias = (weight.astype(run.dtype) for weight in dense())
      features.append(jnp.einsum("kbtd,kde->kbte", run, kernel) + bias[:, None, None])
      start += count * width
    return jnp.moveaxis(jnp.concatenate(features), 0, 2)


class TFLocoformerBlock(nn.Module):
  """Block that models the bands of every frame, then the frames of every band.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  def setup(self) -> None:
    """Create the two paths."""
    self.frequency = TFLocoformerPath(self.config)
    self.time = TFLocoformerPath(self.config)

  def __call__(self, x: Array, index: Array, keys: Array | None) -> tuple[Array, None]:
    """Transform features; the second result is for `nn.scan`.

    Args:
      x: features [B, T, K, D].
      index: number of this block, which distinguishes its dropout from the others'.
      keys: dropout keys [B], shared by all blocks, or None.

    Returns:
      features [B, T, K, D] and None.
    """
    keys = fold_in_each(keys, index)
    x = self.frequency(x, fold_in_each(keys, 0))
    x = self.time(jnp.swapaxes(x, 1, 2), fold_in_each(keys, 1))
    return jnp.swapaxes(x, 1, 2), None


class TFLocoformerPath(nn.Module):
  """Half of a block: feed-forward, attention, feed-forward along sequences.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  def setup(self) -> None:
    """Create the three layers and their norms."""
    c = self.config
    self.first_norm, self.first_ffn = RMSGroupNorm(c), ConvSwiGLU(c)
    self.attention_norm, self.attention = RMSGroupNorm(c), SelfAttention(c)
    self.last_norm, self.last_ffn = RMSGroupNorm(c), ConvSwiGLU(c)

  def __call__(self, x: Array, keys: Array | None) -> Array:
    """Transform sequences x [B, S, L, D] with dropout keys [B] or None."""
    x = x + self.first_ffn(self.first_norm(x), keys, 0)
    x = x + self.attention(self.attention_norm(x), keys, 2)
    return x + self.last_ffn(self.last_norm(x), keys, 4)


class RMSGroupNorm(nn.Module):
  """Norm that divides groups of features by their root mean square, in float32.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Normalize x [..., D]."""
    gain = self.param("gain", nn.initializers.ones, x.shape[-1:])
    gain = as_rank(gain, x.ndim)
    return _rms_group_norm(x, gain, self.config.num_groups).astype(self.config.dtype)


class ConvSwiGLU(nn.Module):
  """Feed-forward layer: convolution, SwiGLU, transposed convolution.

  Both are written as correlations; the kernel of the second is that of the
  transposed convolution with its taps in reverse order.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  @nn.compact
  def __call__(self, x: Array, keys: Array | None, site: int) -> Array:
    """Transform sequences x [B, S, L, D]; dropout sites: `site`, `site` + 1."""
    c, dim = self.config, x.shape[-1]
    size, hidden = c.kernel_size, c.ffn_dim
    # PyTorch counts the outputs of a transposed convolution: both have D * taps.
    init = uniform_fan_in(dim * size)
    in_kernel = self.param("in_kernel", init, (size, dim, 2 * hidden))
    in_bias = self.param("in_bias", init, (2 * hidden,))
    out_kernel = self.param("out_kernel", init, (size, hidden, dim))
    out_bias = self.param("out_bias", init, (dim,))
    x = correlate(x, in_kernel.astype(c.dtype), True, c.convolution)
    x = checkpoint_name(x + as_rank(in_bias, x.ndim).astype(c.dtype), "expanded")
    x = dropout(_swiglu(x), c.dropout, keys, site)
    x = correlate(x, out_kernel.astype(c.dtype), False, c.convolution)
    x = checkpoint_name(x + as_rank(out_bias, x.ndim).astype(c.dtype), "contracted")
    return dropout(x, c.dropout, keys, site + 1)


class SelfAttention(nn.Module):
  """Multi-head self-attention without positional encoding.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  @nn.compact
  def __call__(self, x: Array, keys: Array | None, site: int) -> Array:
    """Transform sequences x [B, S, L, D]; dropout sites: `site`, `site` + 1."""
    c, dim = self.config, x.shape[-1]
    init = uniform_fan_in(dim)
    qkv_kernel = self.param("qkv_kernel", init, (dim, 3 * dim))
    out_kernel = self.param("out_kernel", init, (dim, dim))
    x = self_attention(
      x,
      qkv_kernel.astype(c.dtype),
      c.num_heads,
      fold_in_each(keys, site),
      c.attention_dropout,
      c.attention,
    )
    x = checkpoint_name(x @ out_kernel.astype(c.dtype), "projected")
    return dropout(x, c.dropout, keys, site + 1)


class MaskDecoder(nn.Module):
  """Layers that turn the features of every band into complex masks of its bins.

  Attributes:
    config: of the separator.
  """

  config: SeparatorConfig

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Map features [B, T, K, D] to masks [B, N, C, T, F], complex64."""
    c = self.config
    x = BandwiseNorm(c, name="norm")(jnp.moveaxis(x, 2, 0))
    # Bands first: one large matrix product for each. Frames last: the arrays split and
    # joined below stay in long pieces.
    x = jnp.moveaxis(x, 3, 1)
    x = jnp.tanh(bandwise_columns(x, *self._first_layer()))
    masks = []
    parts = (2, c.num_masks or c.num_sources, c.num_channels)
    runs = band_runs(c.bands)
    # Split, not sliced: the gradient is one concatenation, not a sum of padded parts.
    inputs = lax.split(x, [count for count, _ in runs])
    for index, ((count, width), run) in enumerate(zip(runs, inputs, strict=True)):
      features = 2 * math.prod(parts) * width
      layer = BandwiseWeights(count, run.shape[1], features, name=f"mask_{index}")
      masks.append(_gated_masks(bandwise_columns(run, *layer()), parts))
    if c.num_masks:
      init = nn.initializers.normal(c.num_masks**-0.5)
      shape = (c.num_sources, c.num_masks, len(c.bands))
      weights = self.param("weights", init, shape)
      each = lax.split(weights, [count for count, _ in runs], 2)
      masks = [_summed(run, part) for run, part in zip(masks, each, strict=True)]
    joined = jnp.swapaxes(jnp.concatenate(masks, 4), 4, 5).astype(jnp.float32)
    real, imag = joined
    return lax.complex(real, imag)

  def _first_layer(self) -> tuple[Array, Array]:
    """Return kernels [K, D, 4D] and biases [K, 4D] before the nonlinearity."""
    bands, dim = len(self.config.bands), self.config.embed_dim
    if self.has_variable("params", "folded"):
      return BandwiseWeights(bands, dim, 4 * dim, name="folded")()
    # There is no nonlinearity between these two layers.
    expand = BandwiseWeights(bands, dim, 4 * dim, name=COMPOSED[0])()
    mix = BandwiseWeights(bands, 4 * dim, 4 * dim, name=COMPOSED[1])()
    return composed(expand, mix)


# Of these cheap steps only the inputs are kept for the backward pass.
@partial(jax.checkpoint, prevent_cse=False, static_argnums=2)
def _rms_group_norm(x: Array, gain: Array, num_groups: int) -> Array:
  grouped = x.astype(jnp.float32).reshape(*x.shape[:-1], num_groups, -1)
  # The small constant keeps the gradient at zero finite.
  rms = jnp.sqrt(jnp.mean(grouped**2, -1, keepdims=True) + 1e-24)
  return (grouped / (rms + 1e-5)).reshape(x.shape) * gain


@partial(jax.checkpoint, prevent_cse=False)
def _swiglu(x: Array) -> Array:
  value, gate = jnp.split(x, 2, -1)
  return value * nn.silu(gate)


@partial(jax.checkpoint, static_argnums=1)
def _gated_masks(run: Array, parts: tuple[int, int, int]) -> Array:
  """Map values and gates [K, 2 * 2MCW, B, T] of K bands to masks [2, B, M, C, KW, T].

  Args:
    run: output of the last layer for bands of one width W.
    parts: 2 for real and imaginary part, M and C.
  """
  value, gate = jnp.split(run, 2, 1)
  mask = (value * nn.sigmoid(gate)).reshape(len(run), *parts, -1, *run.shape[2:])
  mask = jnp.transpose(mask, (1, 5, 2, 3, 0, 4, 6))
  return mask.reshape(*mask.shape[:4], -1, mask.shape[-1])


def _summed(run: Array, weights: Array) -> Array:
  """Sum masks [2, B, M, C, KW, T] of K bands with weights [N, M, K], in float32."""
  bands = run.astype(jnp.float32).reshape(
    *run.shape[:4], weights.shape[2], -1, run.shape[5]
  )
  summed = jnp.einsum(
    "nmk,pbmckwt->pbnckwt", weights, bands, precision=lax.Precision.HIGHEST
  )
  return summed.reshape(*summed.shape[:4], *run.shape[4:])
