"""Sizes of a separator, and how it is computed."""

from dataclasses import dataclass, fields

import jax

from mixit_jax.errors import UserError
from mixit_jax.separator.bands import PAPER_BANDS, check_bands
from mixit_jax.separator.layers import LocoformerSettings

_PRESETS: dict[str, dict[str, int]] = {
  "small": {
    "num_blocks": 4,
    "embed_dim": 96,
    "ffn_dim": 128,
    "num_heads": 4,
    "num_groups": 4,
  },
  "medium": {
    "num_blocks": 6,
    "embed_dim": 128,
    "ffn_dim": 192,
    "num_heads": 8,
    "num_groups": 8,
  },
  "large": {
    "num_blocks": 9,
    "embed_dim": 192,
    "ffn_dim": 256,
    "num_heads": 8,
    "num_groups": 8,
  },
}


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
