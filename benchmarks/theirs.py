"""The side of the PyTorch baseline in the contests: makers of tasks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.baseline import objectives
from benchmarks.baseline.config import SIZES, BaselineConfig
from benchmarks.baseline.model import Baseline
from benchmarks.turns import Task
from mixit_jax.separator.chunked import separate_long

RATE = 44100


def train_step(
  size: str,
  num_sources: int,
  seconds: float,
  batch: int,
  autocast: str = "",
  checkpoint_blocks: bool = False,
  compiled: bool = False,
  dropout: float = 0.0,
) -> Task:
  """Take pre-training steps on noise with the same loss, clipping and optimizer."""
  model = _model(
    size, num_sources, autocast, checkpoint_blocks=checkpoint_blocks, dropout=dropout
  )
  model.train()
  optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2, fused=True)
  mixtures = _noise(batch, 2, 2, round(seconds * RATE))
  loss_of: Callable[[Baseline, Tensor], Tensor] = objectives.mixit_loss
  if compiled:
    loss_of = torch.compile(loss_of)

  def run() -> None:
    optimizer.zero_grad()
    loss_of(model, mixtures).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    _wait()

  return Task(run, _device_memory)


def separation(
  size: str,
  num_sources: int,
  seconds: float,
  chunk: float,
  hop: float,
  batch: int,
  autocast: str = "",
  compiled: bool = False,
) -> Task:
  """Separate a recording of noise, chunk by chunk."""
  model = _model(size, num_sources, autocast).eval()
  network: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
  mixture = np.array(_noise(2, round(seconds * RATE)).cpu())

  @torch.inference_mode()
  def separate(chunks: np.ndarray) -> np.ndarray:
    return np.asarray(network(torch.from_numpy(chunks).to(_device())).cpu())

  def run() -> None:
    separate_long(separate, mixture, round(chunk * RATE), round(hop * RATE), batch)

  return Task(run, _device_memory)


def objective(num_sources: int, seconds: float, batch: int) -> Task:
  """Compute the efficient MixIT loss of given estimates and its gradient."""
  estimates = _noise(batch, num_sources, 2, round(seconds * RATE)).requires_grad_()
  mixtures = _noise(batch, 2, 2, round(seconds * RATE))

  def run() -> None:
    estimates.grad = None
    matrix = objectives.assign(estimates, mixtures)
    remixed = torch.einsum("bmn,bncl->bmcl", matrix, estimates)
    objectives.snr_loss(mixtures, remixed).mean().backward()
    _wait()

  return Task(run, _device_memory)


def matrix_product(length: int, dtype: str) -> Task:
  """Multiply two square matrices."""
  a = _noise(length, length).to(getattr(torch, dtype))

  def run() -> None:
    a @ a
    _wait()

  return Task(run, _device_memory)


def _model(size: str, num_sources: int, autocast: str, **choices: Any) -> Baseline:
  torch.manual_seed(0)
  config: BaselineConfig = dataclasses.replace(
    SIZES[size],
    num_sources=num_sources,
    autocast=getattr(torch, autocast) if autocast else None,
    **choices,
  )
  return Baseline(config).to(_device())


def _device() -> str:
  return "cuda" if torch.cuda.is_available() else "cpu"


def _noise(*shape: int) -> Tensor:
  generator = torch.Generator().manual_seed(0)
  return (torch.randn(shape, generator=generator) / 10).to(_device())


def _wait() -> None:
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def _device_memory() -> int | None:
  return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
