"""Band-split TF-Locoformer: mixtures in, sources out (paper 4.2).

A mixture's spectrogram is cut into bands of bins, each band becomes D features
(`BandSplit`), TF-Locoformer blocks model the features over bands and frames, and
`MaskDecoder` turns them into one complex mask per source and channel.
"""

import math
from dataclasses import dataclass, fields
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from mixit_jax.audio.spectral import istft, level, stft
from mixit_jax.errors import UserError
from mixit_jax.separator.bands import PAPER_BANDS, band_runs, check_bands
from mixit_jax.separator.layers import (
  SAVED_PRODUCTS,
  LocoformerSettings,
  TFLocoformerBlock,
  uniform_fan_in,
)

# Share of a window at its end where it is below 0.01.
_WINDOW_FOOT = 1 / 32

_PRESETS: dict[str, dict[str, int]] = {
  "small": {
    "num_blocks": 4, "embed_dim": 96, "ffn_dim": 128, "num_heads": 4, "num_groups": 4,
  },
  "medium": {
    "num_blocks": 6, "embed_dim": 128, "ffn_dim": 192, "num_heads": 8, "num_groups": 8,
  },
  "large": {
    "num_blocks": 9, "embed_dim": 192, "ffn_dim": 256, "num_heads": 8, "num_groups": 8,
  },
}  # fmt: skip


@dataclass(frozen=True)
class SeparatorConfig:
  """Sizes of a separator and how it is computed.

  Attributes:
    num_blocks: TF-Locoformer blocks (B in the paper).
    embed_dim: features per band and frame (D).
    ffn_dim: hidden features of the feed-forward layers (C).
    num_heads: attention heads (H), a divisor of `embed_dim`.
    num_groups: groups of the norms (G), a divisor of `embed_dim`.
    kernel_size: taps of the convolutions (K).
    num_sources: outputs; 12 for pre-training, one per stem for fine-tuning.
    num_channels: audio channels.
    sample_rate: in hertz; what the model is trained on, not used to compute.
    n_fft: samples of an STFT window.
    hop: samples between STFT frames.
    bands: widths of the bands in bins; they sum to n_fft // 2 + 1.
    dropout: rate after attention, gates and feed-forward layers.
    attention_dropout: rate on the attention weights.
    dtype: "float32", "bfloat16" or "auto" (bfloat16 on GPU and TPU, float32 on CPU):
      type of band split, blocks and decoder.
      Parameters, STFT, norms and masks are float32 always.
    remat: what the backward pass computes again to save memory: "none"; "block",
      everything in a block; "dots", everything but the matrix products.
    scan_blocks: compile one block and loop, or unroll all (slower to compile).
      The parameters are the same.
    attention: "xla"; "cudnn", fused, GPU, bfloat16, no attention dropout; "auto",
      "cudnn" where possible.

  Raises:
    UserError: when a value is not valid; the message names the key.
  """

  num_blocks: int
  embed_dim: int
  ffn_dim: int
  num_heads: int
  num_groups: int
  kernel_size: int = 8
  num_sources: int = 4
  num_channels: int = 2
  sample_rate: int = 44100
  n_fft: int = 2048
  hop: int = 512
  bands: tuple[int, ...] = PAPER_BANDS
  dropout: float = 0.0
  attention_dropout: float = 0.0
  dtype: str = "float32"
  remat: str = "none"
  scan_blocks: bool = True
  attention: str = "auto"

  def __post_init__(self) -> None:
    """Checks every value."""
    object.__setattr__(self, "bands", tuple(self.bands))
    for field in fields(self):
      if field.type is int:
        value = getattr(self, field.name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
          raise UserError(f"{field.name}: {value!r} is not a positive whole number")
    for name in ("num_heads", "num_groups"):
      if self.embed_dim % getattr(self, name):
        raise UserError(
          f"{name}: {getattr(self, name)} does not divide embed_dim={self.embed_dim}"
        )
    for name in ("dropout", "attention_dropout"):
      if not 0 <= getattr(self, name) < 1:
        raise UserError(f"{name}: {getattr(self, name)!r} is not in [0, 1)")
    for name, choices in (
      ("dtype", ("auto", "float32", "bfloat16")),
      ("remat", ("none", "block", "dots")),
      ("attention", ("auto", "xla", "cudnn")),
    ):
      if getattr(self, name) not in choices:
        raise UserError(
          f"{name}: {getattr(self, name)!r} is not one of {', '.join(choices)}"
        )
    if self.n_fft % 2 or self.hop > self.n_fft:
      raise UserError(
        f"n_fft: must be even and at least hop; found n_fft={self.n_fft},"
        f" hop={self.hop}"
      )
    check_bands(self.bands, self.n_fft)
    problem = self._cudnn_problem()
    if self.attention == "cudnn" and problem:
      raise UserError(f"attention: 'cudnn' {problem}; use 'xla' or 'auto'")

  @classmethod
  def preset(cls, size: str, **overrides: object) -> "SeparatorConfig":
    """The paper's small, medium or large model.

    Args:
      size: "small", "medium" or "large".
      **overrides: any attribute.

    Returns:
      The configuration.

    Raises:
      UserError: when the size or a key is unknown, or a value not valid.
    """
    if size not in _PRESETS:
      raise UserError(f"size: {size!r} is not one of {', '.join(_PRESETS)}")
    unknown = set(overrides) - {field.name for field in fields(cls)}
    if unknown:
      raise UserError(f"unknown separator keys: {', '.join(sorted(unknown))}")
    return cls(**(_PRESETS[size] | overrides))  # type: ignore[arg-type]

  def compute_dtype(self) -> str:
    """The type that band split, blocks and decoder compute in here."""
    if self.dtype != "auto":
      return self.dtype
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"

  def attention_implementation(self) -> str:
    """The attention that runs here: "xla" or "cudnn"."""
    if self.attention != "auto":
      return self.attention
    usable = jax.default_backend() == "gpu" and not self._cudnn_problem()
    return "cudnn" if usable else "xla"

  def locoformer_settings(self) -> LocoformerSettings:
    """What the blocks need to know."""
    return LocoformerSettings(
      ffn_dim=self.ffn_dim,
      kernel_size=self.kernel_size,
      num_heads=self.num_heads,
      num_groups=self.num_groups,
      dropout=self.dropout,
      attention_dropout=self.attention_dropout,
      attention=self.attention_implementation(),
      dtype=self.compute_dtype(),
    )

  def _cudnn_problem(self) -> str | None:
    """Why cuDNN attention cannot serve this configuration."""
    if self.dtype == "float32":
      return "needs dtype='bfloat16'"
    if (self.embed_dim // self.num_heads) % 8:
      return "needs embed_dim / num_heads to be a multiple of 8"
    if self.attention_dropout:
      return "has no attention_dropout"
    return None


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
    # Bands first: one large matrix product for each, and nothing large to transpose.
    x = BandwiseNorm(c.compute_dtype(), name="norm")(jnp.moveaxis(x, 2, 0))
    bands, hidden = len(c.bands), 4 * c.embed_dim
    # No nonlinearity stands between these two layers.
    expand = BandwiseWeights(bands, c.embed_dim, hidden, name="expand")()
    mix = BandwiseWeights(bands, hidden, hidden, name="hidden")()
    x = jnp.tanh(bandwise_dense(x, composed(expand, mix)))
    masks, start = [], 0
    parts = (2, c.num_sources, c.num_channels)
    for index, (count, width) in enumerate(band_runs(c.bands)):
      features = 2 * math.prod(parts) * width
      weights = BandwiseWeights(count, hidden, features, name=f"mask_{index}")
      run = bandwise_dense(x[start : start + count], weights())
      masks.append(_gated_masks(run, parts))
      start += count
    real, imag = jnp.concatenate(masks, -1).astype(jnp.float32)
    return lax.complex(real, imag)


# The backward pass keeps the input alone and computes the gate again.
@partial(jax.checkpoint, static_argnums=1)
def _gated_masks(run: Array, parts: tuple[int, int, int]) -> Array:
  """Maps values and gates [K, B, T, 2 * 2NCW] of K bands to masks [2, B, N, C, T, KW].

  Args:
    run: output of the last layer for bands of one width W.
    parts: 2 for real and imaginary part, N and C.
  """
  value, gate = jnp.split(run, 2, -1)
  mask = (value * nn.sigmoid(gate)).reshape(*run.shape[:3], *parts, -1)
  mask = jnp.transpose(mask, (3, 1, 4, 5, 2, 0, 6))
  return mask.reshape(*mask.shape[:5], -1)


class Separator(nn.Module):
  """The whole model, from waveform to waveforms.

  Its parameters have three entries: "band_split", "blocks" (every leaf stacked
  over the blocks) and "decoder".

  Attributes:
    config: sizes and how to compute.
  """

  config: SeparatorConfig

  def setup(self) -> None:
    """Creates band split, blocks and decoder."""
    c = self.config
    block = TFLocoformerBlock
    if c.remat != "none":
      products = jax.checkpoint_policies.save_only_these_names(*SAVED_PRODUCTS)
      policy = products if c.remat == "dots" else None
      block = nn.remat(block, prevent_cse=not c.scan_blocks, policy=policy)
    self.band_split = BandSplit(c)
    self.blocks = nn.scan(
      block,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      in_axes=(0, nn.broadcast),
      length=c.num_blocks,
      check_constancy_invariants=False,
      unroll=1 if c.scan_blocks else c.num_blocks,
    )(c.locoformer_settings())
    self.decoder = MaskDecoder(c)

  def __call__(self, mixture: Array, dropout_keys: Array | None = None) -> Array:
    """Separates mixtures.

    Args:
      mixture: waveforms [B, C, L], longer than n_fft / 2 samples.
      dropout_keys: one random key per example [B], or None for no dropout. The
        masks of an example follow from its key alone.

    Returns:
      Estimates [B, N, C, L], float32.
    """
    estimates, scale = self.separate_normalized(mixture, dropout_keys)
    return estimates * scale[:, None, :, None]

  def separate_normalized(
    self, mixture: Array, dropout_keys: Array | None = None
  ) -> tuple[Array, Array]:
    """Separates mixtures whose spectrograms are scaled to unit level.

    Args:
      mixture: waveforms [B, C, L], longer than n_fft / 2 samples.
      dropout_keys: one random key per example [B], or None for no dropout.

    Returns:
      Estimates [B, N, C, L] of the mixture divided by its level, and the level of
      every channel [B, C], both float32.
    """
    c = self.config
    if mixture.ndim != 3 or mixture.shape[1] != c.num_channels:
      raise ValueError(
        f"expected a mixture [B, {c.num_channels}, L], found {mixture.shape}"
      )
    length = mixture.shape[-1]
    missing = num_frames(length, c.n_fft, c.hop) * c.hop - length
    mixture = jnp.pad(mixture, ((0, 0), (0, 0), (0, max(missing, 0))))
    spectrogram = stft(mixture, c.n_fft, c.hop, drop_last=False)
    scale = level(spectrogram)
    spectrogram = spectrogram[:, :, :-1] / scale[:, :, None, None]
    masks = self.masks(spectrogram, dropout_keys)
    estimates = istft(masks * spectrogram[:, None], c.n_fft, c.hop, length)
    return estimates, scale

  def masks(self, spectrogram: Array, dropout_keys: Array | None = None) -> Array:
    """Computes the masks of a spectrogram.

    Args:
      spectrogram: of mixtures at unit level [B, C, T, F], complex64.
      dropout_keys: one random key per example [B], or None for no dropout.

    Returns:
      Masks [B, N, C, T, F], complex64.
    """
    x = self.band_split(spectrogram)
    x, _ = self.blocks(x, jnp.arange(self.config.num_blocks), dropout_keys)
    return self.decoder(x)


def num_frames(length: int, n_fft: int, hop: int) -> int:
  """Frames that are separated for a mixture of `length` samples.

  The last of the L // hop + 1 frames is dropped. Where only the foot of a window is
  left for the last samples, the inverse would blow up what a mask adds there, so the
  mixture is continued with zeros. The paper's lengths (6 and 12 s at 44.1 kHz) need
  none.
  """
  reach = round((1 / 2 - _WINDOW_FOOT) * n_fft)  # of a frame past its center
  return max(length // hop, -(-(length - reach) // hop) + 1)
