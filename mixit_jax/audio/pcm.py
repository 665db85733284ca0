"""Samples as 16-bit integers, as records hold them, and as float32."""

from typing import TypeVar

import jax
import numpy as np

PCM_SCALE = 32768.0  # what 16-bit readers divide by

Samples = TypeVar("Samples", np.ndarray, jax.Array)


def to_float32(samples: Samples) -> Samples:
  """Return samples as float32 in [-1, 1); pure, for arrays of NumPy and of JAX.

  Integers of 16 bits are divided by 32768, which is exact, so that host and device
  give the same bits. Samples that are float32 already are returned as they are.

  Raises:
    TypeError: the samples are of another type.
  """
  if samples.dtype == np.float32:
    return samples
  if samples.dtype != np.int16:
    raise TypeError(f"expected samples int16 or float32, found {samples.dtype}")
  return samples.astype(np.float32) / np.float32(PCM_SCALE)
