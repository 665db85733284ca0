"""Sizes of a separator, and how it is computed."""

import dataclasses
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from mixit_jax.checked import Checked, require, setting
from mixit_jax.errors import UserError
from mixit_jax.separator.bands import PAPER_BANDS, check_bands

# Blocks, D, C, heads and groups of the paper's models.
_PRESETS = {
  "small": (4, 96, 128, 4, 4),
  "medium": (6, 128, 192, 8, 8),
  "large": (9, 192, 256, 8, 8),
}
_PRESET_FIELDS = ("num_blocks", "embed_dim", "ffn_dim", "num_heads", "num_groups")

# How a model is computed, not what it is.
_COMPUTATION = frozenset(
  {
    "dropout",
    "attention_dropout",
    "dtype",
    "remat",
    "scan_blocks",
    "attention",
    "convolution",
  }
)


@dataclass(frozen=True)
class SeparatorConfig(Checked):
  """Sizes of a separator and how it is computed.

  Raises:
    ConfigError: a value is not valid; the message names the key.
  """

  section = "model"
  num_blocks: int = setting("TF-Locoformer blocks (B in the paper)", least=1)
  embed_dim: int = setting("features per band and frame (D)", least=1)
  ffn_dim: int = setting("hidden features of the feed-forward layers (C)", least=1)
  num_heads: int = setting("attention heads (H), a divisor of embed_dim", least=1)
  num_groups: int = setting("groups of the norms (G), a divisor of embed_dim", least=1)
  kernel_size: int = setting("taps of the convolutions (K)", 8, least=1)
  num_sources: int = setting(
    "outputs: 12 in pre-training, one per stem in fine-tuning", 4, least=1
  )
  num_masks: int = setting(
    "masks that every output is a weighted sum of, with learned weights in each band; "
    "0, the paper's way: a mask for each output. As many as a pre-training has outputs "
    "let a fine-tuning use all of them",
    0,
    least=0,
  )
  num_channels: int = setting("audio channels", 2, least=1)
  sample_rate: int = setting("in hertz", 44100, least=1)
  n_fft: int = setting("samples of an STFT window", 2048, least=1)
  hop: int = setting("samples between STFT frames", 512, least=1)
  bands: tuple[int, ...] = setting(
    "widths of the bands in bins; they sum to n_fft // 2 + 1", PAPER_BANDS
  )
  dropout: float = setting(
    "rate after attention, gates and feed-forward layers", 0.0, least=0, below=1
  )
  attention_dropout: float = setting(
    "rate on the attention weights", 0.0, least=0, below=1
  )
  dtype: Literal["auto", "float32", "bfloat16"] = setting(
    "type of band split, blocks and decoder; auto: bfloat16 on GPU and TPU, float32 on "
    "CPU; parameters, STFT, norms and masks are always float32",
    "float32",
  )
  remat: Literal["auto", "none", "dots", "block"] = setting(
    "what the backward pass computes again to save memory: nothing, everything but the "
    "matrix products (dots), or everything in a block; auto: dots, or block where the "
    "memory of the devices demands it",
    "auto",
    free=True,
  )
  scan_blocks: Literal["auto", "on", "off"] = setting(
    "compile one block and loop, or unroll all, which is slower to compile and moves a "
    "sixth less memory in a training step on GPUs; auto: off there, else on; the "
    "parameters are the same",
    "auto",
    free=True,
  )
  attention: Literal["auto", "xla", "cudnn", "pallas"] = setting(
    "xla; fused, without attention dropout: cudnn (GPU, bfloat16), pallas (TPU v4 and "
    "later); auto: fused where possible",
    "auto",
    free=True,
  )
  convolution: Literal["convolution", "taps", "columns"] = setting(
    "a convolution, one matrix product per tap, or one with neighbors side by side; "
    "results differ by rounding",
    "convolution",
    free=True,
  )

  def __post_init__(self) -> None:
    """Check that the fields agree with each other."""
    super().__post_init__()
    for name in ("num_heads", "num_groups"):
      require(
        self.embed_dim % getattr(self, name) == 0,
        f"model.{name}: {getattr(self, name)} does not divide embed_dim="
        f"{self.embed_dim}",
      )
    require(
      self.n_fft % 2 == 0 and self.hop <= self.n_fft,
      f"model.n_fft must be even and at least hop; found n_fft={self.n_fft}, "
      f"hop={self.hop}",
    )
    check_bands(self.bands, self.n_fft)
    problem = self._cudnn_problem()
    require(
      self.attention != "cudnn" or problem is None,
      f"model.attention: 'cudnn' {problem}; use 'xla' or 'auto'",
    )
    require(
      self.attention != "pallas" or not self.attention_dropout,
      "model.attention: 'pallas' has no attention_dropout; use 'xla' or 'auto'",
    )

  @classmethod
  def preset(cls, size: str, **overrides: Any) -> Self:
    """Return the configuration of the paper's small, medium or large model.

    Args:
      size: "small", "medium" or "large".
      **overrides: any field.

    Raises:
      UserError: the size or a key is unknown, or a value is not valid.
    """
    if size not in _PRESETS:
      raise UserError(f"size: {size!r} is not one of {', '.join(_PRESETS)}")
    unknown = set(overrides) - {field.name for field in fields(cls)}
    if unknown:
      raise UserError(f"unknown separator keys: {', '.join(sorted(unknown))}")
    sizes = dict(zip(_PRESET_FIELDS, _PRESETS[size], strict=True))
    return cls(**(sizes | overrides))

  def settled(self, platform: str, training: bool = False) -> Self:
    """Replace every "auto" with the choice for a platform.

    Args:
      platform: "cpu", "gpu" or "tpu", of the devices that the model is compiled for.
      training: whether gradients are computed. A training has settled `remat` by the
        memory of its devices before.
    """
    dtype, remat, scan_blocks = self.dtype, self.remat, self.scan_blocks
    if dtype == "auto":
      dtype = "float32" if platform == "cpu" else "bfloat16"
    if remat == "auto":
      remat = "dots"
    if scan_blocks == "auto":
      # What a loop keeps for the backward pass goes into stacks, and out of them again.
      scan_blocks = "off" if training and platform == "gpu" else "on"
    settled = dataclasses.replace(
      self, dtype=dtype, remat=remat, scan_blocks=scan_blocks
    )
    if self.attention == "auto":
      attention: Literal["xla", "cudnn", "pallas"] = "xla"
      if platform == "gpu" and settled._cudnn_problem() is None:
        attention = "cudnn"
      elif platform == "tpu" and not self.attention_dropout:
        attention = "pallas"
      settled = dataclasses.replace(settled, attention=attention)
    return settled

  def architecture(self) -> dict[str, Any]:
    """Return the fields that say what the model is, not how it is computed."""
    return {
      name: value
      for name, value in dataclasses.asdict(self).items()
      if name not in _COMPUTATION
    }

  def _cudnn_problem(self) -> str | None:
    """Say why cuDNN's attention cannot serve this configuration, or return None."""
    if self.dtype == "float32":
      return "needs dtype='bfloat16'"
    if (self.embed_dim // self.num_heads) % 8:
      return "needs embed_dim / num_heads to be a multiple of 8"
    if self.attention_dropout:
      return "has no attention_dropout"
    return None
