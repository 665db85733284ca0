"""Separation of recordings of any length, chunk by chunk, in bounded memory."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from mixit_jax.errors import UserError


def separate_long(
  separate_chunks: Callable[[np.ndarray], np.ndarray],
  mixture: np.ndarray,
  chunk: int,
  hop: int,
  batch: int = 1,
) -> np.ndarray:
  """Separates a recording in overlapping chunks and averages the overlaps.

  The chunks start every `hop` samples; the last one is padded with zeros. A silent
  chunk gives silence and is not separated. A recording of at most one chunk is
  separated whole. The paper takes 12-s chunks every 6 s. Apart from `batch` chunks
  and their estimates, the result is all that is held in memory.

  Args:
    separate_chunks: maps mixtures [B, C, chunk] to estimates [B, N, C, chunk]. B is
      always `batch`, zeros fill it up. A recording shorter than a chunk comes as
      [B, C, L]. It is called for a silent recording too, to learn N.
    mixture: recording [C, L].
    chunk: samples of a chunk.
    hop: samples from one start to the next, at most `chunk`.
    batch: chunks separated at a time.

  Returns:
    Estimates [N, C, L], float32.

  Raises:
    UserError: when the sizes or the shape of the mixture are not valid.
  """
  if not 1 <= hop <= chunk:
    raise UserError(
      f"hop: expected 1 to {chunk} samples (the chunk), found {hop}; longer steps"
      " would leave gaps between chunks"
    )
  if batch < 1:
    raise UserError(f"batch: expected at least one chunk at a time, found {batch}")
  if mixture.ndim != 2 or mixture.shape[1] == 0:
    raise UserError(
      f"mixture: expected channels and samples [C, L], found shape {mixture.shape}"
    )
  length = mixture.shape[1]
  chunk = min(chunk, length)
  starts = range(0, length - chunk + hop, hop)
  sounding = [start for start in starts if mixture[:, start : start + chunk].any()]
  estimates: np.ndarray | None = None
  for first in range(0, max(len(sounding), 1), batch):
    group = sounding[first : first + batch]
    chunks = np.zeros((batch, mixture.shape[0], chunk), np.float32)
    for row, start in zip(chunks, group, strict=False):
      piece = mixture[:, start : start + chunk]
      row[:, : piece.shape[1]] = piece
    separated = separate_chunks(chunks)
    if estimates is None:
      estimates = np.zeros((*separated.shape[1:-1], length), np.float32)
    for row, start in zip(separated, group, strict=False):
      stop = min(start + chunk, length)
      estimates[..., start:stop] += row[..., : stop - start]
  assert estimates is not None
  _divide_by_cover(estimates, starts, chunk)
  return estimates


def _divide_by_cover(estimates: np.ndarray, starts: range, chunk: int) -> None:
  """Divides sums [N, C, L] by the number of chunks that cover each sample."""
  borders = sorted({*starts, *(start + chunk for start in starts)})
  for start, stop in pairwise(borders):
    # The chunks that cover this stretch begin after start - chunk, up to start.
    first = max(0, (start - chunk) // starts.step + 1)
    last = min(start // starts.step, len(starts) - 1)
    if last > first:
      estimates[..., start:stop] /= last - first + 1
