"""Losses of pre-training and fine-tuning in PyTorch (paper sections 3.1 and 4.3)."""

import torch
from torch import Tensor

from benchmarks.baseline.model import Baseline

TAU = 1e-3
EPS = 1e-8


def snr_loss(references: Tensor, estimates: Tensor) -> Tensor:
  """Compute thresholded negative SNRs in dB over the last axis (paper equation 4)."""
  error = (references - estimates).square().sum(-1)
  power = references.square().sum(-1)
  return _decibel(error + TAU * power) - _decibel(power)


def assign(estimates: Tensor, mixtures: Tensor) -> Tensor:
  """Assign outputs to mixtures in the efficient way (paper equation 3).

  Args:
    estimates: [B, N, C, L].
    mixtures: [B, 2, C, L].

  Returns:
    binary mixing matrix [B, 2, N] without a gradient.
  """
  with torch.no_grad():
    outputs, targets = estimates.flatten(2), mixtures.flatten(2)
    gram = outputs @ outputs.mT
    cross = outputs @ targets.mT  # [B, N, 2]
    # Diagonal loading: outputs may be silent or equal.
    load = 1e-6 * gram.diagonal(dim1=1, dim2=2).mean(1) + 1e-12
    gram = gram + load[:, None, None] * torch.eye(gram.shape[1], device=gram.device)
    first, second = torch.linalg.solve(gram, cross).unbind(-1)
    return torch.stack([first >= second, first < second], dim=1).to(estimates.dtype)


def mixit_loss(model: Baseline, mixtures: Tensor) -> Tensor:
  """Compute the pre-training loss of two mixtures [B, 2, C, L]: a scalar in dB."""
  estimates, scale = model.model(mixtures.sum(1))
  mixtures = mixtures / scale[:, None, :, None]
  matrix = assign(estimates, mixtures)
  remixed = torch.einsum("bmn,bncl->bmcl", matrix, estimates)
  return snr_loss(mixtures, remixed).mean()


def stem_loss(model: Baseline, references: Tensor) -> Tensor:
  """Compute the fine-tuning loss of stems [B, N, C, L]: a scalar in dB."""
  estimates, scale = model.model(references.sum(1))
  return inactive_snr_loss(references / scale[:, None, :, None], estimates).mean()


def inactive_snr_loss(references: Tensor, estimates: Tensor) -> Tensor:
  """Compute a thresholded SNR loss in dB that accepts silent stems.

  A stem is active in a channel where its power is above -60 dB of the mixture's.

  Args:
    references: [B, N, C, L]; their sum is the mixture.
    estimates: [B, N, C, L].

  Returns:
    loss of every stem and channel [B, N, C].
  """
  error = (references - estimates).square().sum(-1)
  power = references.square().sum(-1)
  mixture_power = references.sum(1, keepdim=True).square().sum(-1)
  active = _decibel(error + TAU * power) - _decibel(power)
  inactive = 0.1 * _decibel(error + TAU * mixture_power)
  return torch.where(power > 1e-6 * mixture_power, active, inactive)


def _decibel(power: Tensor) -> Tensor:
  return 10 * torch.log10(power + EPS)
