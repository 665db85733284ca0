"""Sizes of the baseline (paper section 4.2)."""

import dataclasses

import torch

# 62 bands of 1025 bins (reference [5] of the paper).
PAPER_BANDS = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)


@dataclasses.dataclass(frozen=True)
class BaselineConfig:
  """Sizes of the model and the choices that matter for speed.

  Attributes:
    num_blocks: B of the paper.
    embed_dim: D.
    ffn_dim: C of the paper, hidden features of the feed-forward networks.
    num_heads: H.
    num_groups: G.
    kernel_size: K.
    num_sources: N.
    num_channels: channels of the waveform.
    n_fft: samples per STFT frame.
    hop: samples between STFT frames.
    bands: width of each band in bins; their sum is n_fft / 2 + 1.
    dropout: dropout probability in training mode.
    fused_attention: `scaled_dot_product_attention` instead of explicit products.
    grouped_bands: equally wide bands in one batched product.
    checkpoint_blocks: recompute the blocks in the backward pass.
    autocast: dtype of band split, blocks and decoder (for example bfloat16);
      None keeps float32.
  """

  num_blocks: int
  embed_dim: int
  ffn_dim: int
  num_heads: int
  num_groups: int
  kernel_size: int = 8
  num_sources: int = 4
  num_channels: int = 2
  n_fft: int = 2048
  hop: int = 512
  bands: tuple[int, ...] = PAPER_BANDS
  dropout: float = 0.0
  fused_attention: bool = True
  grouped_bands: bool = True
  checkpoint_blocks: bool = False
  autocast: torch.dtype | None = None


# Section 4.2 of the paper.
SIZES = {
  "small": BaselineConfig(4, 96, 128, 4, 4),
  "medium": BaselineConfig(6, 128, 192, 8, 8),
  "large": BaselineConfig(9, 192, 256, 8, 8),
}
