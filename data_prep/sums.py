"""Sums of audio of different lengths."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixit_jax.audio.files import read_audio


def read_sum(files: Sequence[Path], sample_rate: int, num_channels: int) -> np.ndarray:
  """Read the sum of some files, as long as the longest of them, float32 [C, L].

  Raises:
    AudioError: a file cannot be read.
  """
  parts = [read_audio(file, sample_rate, num_channels) for file in files]
  return parts[0] if len(parts) == 1 else sum_of(parts, num_channels)


def sum_of(
  parts: Sequence[np.ndarray], num_channels: int, length: int | None = None
) -> np.ndarray:
  """Sum audio [C, l], cut or filled up with silence to a length.

  Args:
    parts: what to sum.
    num_channels: channels C.
    length: samples L of the sum; None takes those of the longest part.

  Returns:
    the sum, float32 [C, L].
  """
  if length is None:
    length = max(part.shape[1] for part in parts)
  total = np.zeros((num_channels, length), np.float32)
  for part in parts:
    total[:, : part.shape[1]] += part[:, :length]
  return total
