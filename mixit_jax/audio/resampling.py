"""Other sample rates, with the high-quality band-limited filter of soxr."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

_QUALITY = "HQ"


def resampled_length(length: int, rate_in: int, rate_out: int) -> int:
  """Count the samples of resampled audio: as many as fit its duration, rounded up."""
  # A product of floats, as in librosa: lengths stay those of prepared data.
  return length if rate_in == rate_out else math.ceil(length * (rate_out / rate_in))


def resample(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
  """Resample audio.

  Args:
    audio: audio of shape [C, L], float32.
    rate_in: its sample rate in Hz.
    rate_out: the sample rate wanted.

  Returns:
    audio of shape [C, ceil(L * rate_out / rate_in)]; the same array where both
    rates are equal. Nothing is rescaled.
  """
  if rate_in == rate_out:
    return audio
  length = resampled_length(audio.shape[1], rate_in, rate_out)
  resampled = soxr.resample(audio.T, rate_in, rate_out, quality=_QUALITY)[:length].T
  whole = np.zeros((len(audio), length), np.float32)
  whole[:, : resampled.shape[1]] = resampled  # soxr rounds: it can be one short
  return whole


def resample_blocks(
  blocks: Iterable[np.ndarray], rate_in: int, rate_out: int
) -> Iterator[np.ndarray]:
  """Resample audio that comes in blocks; the samples are those of `resample`.

  Args:
    blocks: audio [C, l], float32, in order.
    rate_in: its sample rate in Hz.
    rate_out: the sample rate wanted.

  Yields:
    the same blocks where both rates are equal; else others, which end where soxr
    does: it rounds, so that they can be a sample shorter or longer than
    `resampled_length`.
  """
  if rate_in == rate_out:
    yield from blocks
    return
  stream = None
  for block in blocks:
    if stream is None:
      stream = soxr.ResampleStream(
        rate_in, rate_out, len(block), "float32", quality=_QUALITY
      )
      end = np.zeros((0, len(block)), np.float32)
    part = stream.resample_chunk(np.ascontiguousarray(block.T))
    if len(part):
      yield part.T
  if stream is not None:
    yield stream.resample_chunk(end, last=True).T
