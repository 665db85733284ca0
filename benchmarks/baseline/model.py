"""Band-split TF-Locoformer from waveform to waveform in PyTorch (paper section 4.2)."""

import contextlib

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.baseline.bands import BandSplit
from benchmarks.baseline.config import BaselineConfig
from benchmarks.baseline.layers import TFLocoformerBlock


class MaskNetwork(nn.Module):
  """Complex masks of a complex spectrogram."""

  def __init__(self, config: BaselineConfig):
    super().__init__()
    self.config = config
    self.blocks = nn.ModuleList(
      TFLocoformerBlock(config) for _ in range(config.num_blocks)
    )
    self.band_split_module = BandSplit(config)

  def forward(self, spectrogram: Tensor) -> Tensor:
    """Map a complex spectrogram [B, C, F, T] to masks [B, N, C, F, T]."""
    precision = (
      contextlib.nullcontext()
      if self.config.autocast is None
      else torch.autocast(spectrogram.device.type, self.config.autocast)
    )
    with precision:
      x = self.band_split_module.encode(spectrogram)
      for block in self.blocks:
        if self.config.checkpoint_blocks and torch.is_grad_enabled():
          x = checkpoint(block, x, use_reentrant=False)
        else:
          x = block(x)
      return self.band_split_module.decode(x)


class WaveformSeparator(nn.Module):
  """STFT, level normalization, masking and inverse STFT around the network."""

  def __init__(self, config: BaselineConfig):
    super().__init__()
    self.config = config
    self.model = MaskNetwork(config)
    self.window: Tensor
    window = torch.hann_window(config.n_fft)
    self.register_buffer("window", window, persistent=False)

  def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
    """Separate a mixture.

    Args:
      mixture: waveforms [B, C, L].

    Returns:
      estimates [B, N, C, L] of the mixture divided by its level, and that level
      [B, C].
    """
    batch, channels, length = mixture.shape
    n_fft, hop = self.config.n_fft, self.config.hop
    spectrogram = torch.stft(
      mixture.flatten(0, 1), n_fft, hop, window=self.window, return_complex=True
    )
    spectrogram = spectrogram.unflatten(0, (batch, channels))
    # The level counts every frame; only then is the last one dropped.
    power = torch.view_as_real(spectrogram).square().sum(-1)
    scale = power.clamp(min=1e-15).mean(dim=(-2, -1)).sqrt()
    spectrogram = spectrogram[..., : length // hop] / scale[..., None, None]
    separated = spectrogram.unsqueeze(1) * self.model(spectrogram)
    estimates = torch.istft(
      separated.flatten(0, 2), n_fft, hop, window=self.window, length=length
    )
    return estimates.unflatten(0, separated.shape[:3]), scale


class Baseline(nn.Module):
  """Separator whose state-dict keys are those of the published checkpoints."""

  def __init__(self, config: BaselineConfig):
    super().__init__()
    self.model = WaveformSeparator(config)

  def forward(self, mixture: Tensor) -> Tensor:
    """Separate waveforms [B, C, L] into estimates [B, N, C, L]."""
    estimates, scale = self.model(mixture)
    return estimates * scale[:, None, :, None]
