"""Band split and band-wise mask decoder in PyTorch.

Every band has its own small modules, named as in the published checkpoints. With
`grouped_bands` their parameters are stacked at run time and each run of equally wide
bands is one batched product: seven instead of 62.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.baseline.config import BaselineConfig


class BandSplit(nn.Module):
  """Encoder and decoder of all bands, sharing the layout of the bands."""

  def __init__(self, config: BaselineConfig):
    super().__init__()
    self.bands = config.bands
    self.num_sources = config.num_sources
    self.num_channels = config.num_channels
    self.grouped = config.grouped_bands
    features = config.embed_dim
    self.band_split_module = nn.ModuleList()
    self.bandwise_decoding_module = nn.ModuleList()
    for width in self.bands:
      inputs = 2 * self.num_channels * width
      self.band_split_module.append(
        nn.Sequential(nn.GroupNorm(1, inputs), nn.Conv1d(inputs, features, 1))
      )
      self.bandwise_decoding_module.append(
        nn.Sequential(
          nn.GroupNorm(1, features),
          nn.Conv1d(features, 4 * features, 1),
          nn.Conv1d(4 * features, 4 * features, 1),
          nn.Tanh(),
          nn.Conv1d(4 * features, 2 * self.num_sources * inputs, 1),
          nn.GLU(dim=1),
        )
      )

  def encode(self, spectrogram: Tensor) -> Tensor:
    """Map a complex spectrogram [B, C, F, T] to features [B, T, K, D]."""
    # Rows in the order (bin, re/im, channel).
    rows = torch.view_as_real(spectrogram).permute(0, 2, 4, 1, 3)
    rows = rows.flatten(1, 3)
    sizes = [2 * self.num_channels * width for width in self.bands]
    if not self.grouped:
      parts = rows.split(sizes, dim=1)
      outputs = [f(part) for f, part in zip(self.band_split_module, parts, strict=True)]
      return torch.stack(outputs, dim=1).permute(0, 3, 1, 2)
    outputs = []
    runs = _runs(self.bands)
    lengths = [count * sizes[first] for first, count in runs]
    parts = rows.split(lengths, dim=1)
    for (first, count), part in zip(runs, parts, strict=True):
      bands = self.band_split_module[first : first + count]
      x = _group_norm(_layers(bands, 0), part)
      x = x.unflatten(1, (count, -1)).permute(1, 0, 3, 2).flatten(1, 2)
      x = _linear(_layers(bands, 1), x)
      outputs.append(x.unflatten(1, (rows.shape[0], -1)))
    return torch.cat(outputs).permute(1, 2, 0, 3)

  def decode(self, x: Tensor) -> Tensor:
    """Map features [B, T, K, D] to complex masks [B, N, C, F, T], in float32."""
    layout = (2, self.num_sources, self.num_channels)
    x = x.permute(0, 2, 3, 1)  # [B, K, D, T]
    if not self.grouped:
      outputs = [
        f(x[:, k]).unflatten(1, (*layout, -1))
        for k, f in enumerate(self.bandwise_decoding_module)
      ]
    else:
      bands = self.bandwise_decoding_module
      batch, count = x.shape[:2]
      x = _group_norm(_layers(bands, 0), x.flatten(1, 2))
      x = x.unflatten(1, (count, -1)).permute(1, 0, 3, 2).flatten(1, 2)
      x = _linear(_layers(bands, 1), x)
      x = torch.tanh(_linear(_layers(bands, 2), x))
      outputs = []
      for first, count in _runs(self.bands):
        run = slice(first, first + count)
        out = functional.glu(_linear(_layers(bands[run], 4), x[run]))
        out = out.unflatten(1, (batch, -1)).unflatten(-1, (*layout, -1))
        # [n, B, T, re/im, N, C, b] -> [B, re/im, N, C, n * b, T]
        outputs.append(out.permute(1, 3, 4, 5, 0, 6, 2).flatten(4, 5))
    masks = torch.cat(outputs, dim=4).float()
    return torch.complex(masks[:, 0], masks[:, 1])


def _runs(bands: tuple[int, ...]) -> list[tuple[int, int]]:
  """Return first index and length of each run of equally wide bands."""
  runs, first = [], 0
  for _, group in itertools.groupby(bands):
    count = len(list(group))
    runs.append((first, count))
    first += count
  return runs


def _layers(bands: nn.ModuleList, index: int) -> list[Any]:
  """List one layer of every band."""
  return [list(band.children())[index] for band in bands]


def _group_norm(norms: list[nn.GroupNorm], x: Tensor) -> Tensor:
  """Normalize `x` [B, n * features, T] by one group norm per band."""
  weight = torch.cat([norm.weight for norm in norms])
  bias = torch.cat([norm.bias for norm in norms])
  return functional.group_norm(x, len(norms), weight, bias)


def _linear(layers: list[Any], x: Tensor) -> Tensor:
  """Apply one linear layer per band to `x` [n, rows, inputs]."""
  weight = torch.stack([layer.weight.squeeze(-1) for layer in layers])
  bias = torch.stack([layer.bias for layer in layers])
  return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
