"""Separation of recordings of any length, chunk by chunk, in bounded memory."""

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, Sharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

from mixit_jax.errors import UserError


def separate_long(
  separate_chunks: Callable[[np.ndarray], ArrayLike],
  mixture: np.ndarray,
  chunk: int,
  hop: int,
  batch: int = 1,
) -> np.ndarray:
  """Separate a recording in overlapping chunks and average the overlaps.

  The chunks start every `hop` samples; the last one is padded with zeros. A silent
  chunk gives silence, and groups of `batch` consecutive chunks begin at one that is
  not silent. A recording of at most one chunk is separated whole. The paper takes
  12-s chunks every 6 s.

  Overlaps are added where the estimates are computed, so each sample of the result
  travels to the host once, while the next group is computed. Memory holds only the
  result, and two groups with their estimates.

  Args:
    separate_chunks: maps mixtures [B, C, chunk] to estimates [B, N, C, chunk]. It may
      return a JAX array that is not computed yet, divided over devices along B. B is
      always `batch`, filled up with zeros. A recording shorter than a chunk comes as
      [B, C, L]. A silent recording is also passed to it, to learn N.
    mixture: recording [C, L].
    chunk: samples of a chunk.
    hop: samples from one start to the next, at most `chunk`.
    batch: chunks separated at a time.

  Returns:
    estimates [N, C, L], float32.

  Raises:
    UserError: the sizes or the shape of the mixture are not valid.
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
  if len(starts) == 1:
    hop = chunk  # nothing overlaps
  sounding = [bool(mixture[:, start : start + chunk].any()) for start in starts]
  sums: np.ndarray | None = None
  stretch = _Stretch(0, hop)
  # Pieces with the place of their first sample, still being copied to the host.
  waiting: list[tuple[int, jax.Array]] = []
  for first in _groups(sounding, batch):
    group = starts[first : first + batch]
    chunks = np.zeros((batch, mixture.shape[0], chunk), np.float32)
    for row, start in zip(chunks, group, strict=False):
      piece = mixture[:, start : start + chunk]
      row[:, : piece.shape[1]] = piece
    estimates = _on_device(separate_chunks(chunks))
    if sums is None:
      sums = np.zeros((*estimates.shape[1:-1], length), np.float32)
    arrived, waiting = waiting, []
    if stretch.stop != first * hop:
      waiting += stretch.rest()
      stretch = _Stretch(first * hop, hop)
    waiting += stretch.add(estimates, sounding[first : first + batch])
    del estimates
    _fetch(sums, arrived)
  assert sums is not None
  _fetch(sums, [*waiting, *stretch.rest()])
  _divide_by_cover(sums, starts, chunk)
  return sums


def _groups(sounding: Sequence[bool], batch: int) -> list[int]:
  """List the first chunks of the groups: each begins at the next chunk that sounds."""
  firsts: list[int] = []
  for index, sounds in enumerate(sounding):
    if sounds and (not firsts or index >= firsts[-1] + batch):
      firsts.append(index)
  return firsts or [0]


class _Stretch:
  """Consecutive groups, whose sums past their last start stay on the device.

  Attributes:
    stop: sample that the next group must start at.
  """

  def __init__(self, start: int, hop: int):
    self.stop = start
    self._hop = hop
    self._tail: jax.Array | None = None

  def add(
    self, estimates: jax.Array, sounding: Sequence[bool]
  ) -> list[tuple[int, jax.Array]]:
    """Add a group; return the pieces that no later chunk reaches."""
    batch, *shape, chunk = estimates.shape
    adder, whole = _adder(estimates.sharding, self._hop)
    if self._tail is None:
      reach = -(-chunk // self._hop)
      zeros = np.zeros((reach - 1, *shape, self._hop), np.float32)
      self._tail = jax.device_put(zeros, whole)
    rows = np.zeros(batch, bool)
    rows[: len(sounding)] = sounding
    pieces, self._tail = adder(estimates, jax.device_put(rows, whole), self._tail)
    pieces.copy_to_host_async()
    place = self.stop
    self.stop += batch * self._hop
    return [(place, pieces)]

  def rest(self) -> list[tuple[int, jax.Array]]:
    """Return the piece that reaches beyond the last group, if any."""
    return [] if self._tail is None else [(self.stop, self._tail)]


@functools.lru_cache(maxsize=8)
def _adder(sharding: Sharding, hop: int) -> tuple[Callable[..., Any], Sharding]:
  """Compile `_overlap_add` for a layout of estimates; also return that of the rest."""
  whole = sharding
  if isinstance(sharding, NamedSharding):
    whole = NamedSharding(sharding.mesh, P())
  adder = jax.jit(
    functools.partial(_overlap_add, hop=hop), out_shardings=(sharding, whole)
  )
  return adder, whole


def _overlap_add(
  estimates: jax.Array, sounding: jax.Array, tail: jax.Array, hop: int
) -> tuple[jax.Array, jax.Array]:
  """Add the estimates of consecutive chunks.

  The sums do not depend on the size of the groups: every sample's chunks are added
  from the first to the last.

  Args:
    estimates: of chunks that start every `hop` samples [B, N, C, chunk].
    sounding: which of them count [B].
    tail: sums that earlier groups left from the first start on [R - 1, N, C, hop],
      where R = ceil(chunk / hop).
    hop: samples from one start to the next.

  Returns:
    sums from each start to the next [B, N, C, hop], and the new tail.
  """
  batch, chunk = len(estimates), estimates.shape[-1]
  reach = -(-chunk // hop)
  # Not a product: estimates that do not count may be NaN.
  estimates = jnp.where(sounding[:, None, None, None], estimates, 0.0)
  padding = ((0, 0),) * 3 + ((0, reach * hop - chunk),)
  parts = jnp.split(jnp.pad(estimates, padding), reach, axis=-1)
  sums = _placed(tail[:batch], 0, batch)
  rest = _placed(tail[batch:], 0, reach - 1)
  for late in reversed(range(reach)):
    # Shifted by `late` places: as many rows as fit stay, the last ones are left over.
    over = min(late, batch)
    sums += _placed(parts[late][: batch - over], over, batch)
    rest += _placed(parts[late][batch - over :], late - over, reach - 1)
  return sums, rest


def _placed(rows: jax.Array, first: int, count: int) -> jax.Array:
  """Place rows [?, N, C, hop] among `count` rows, zeros elsewhere, from `first` on."""
  padding = ((first, count - first - len(rows)), *((0, 0),) * 3)
  return jnp.pad(rows, padding)


def _on_device(estimates: ArrayLike) -> jax.Array:
  """Return an array of JAX as it is, any other as a copy on the default device."""
  if isinstance(estimates, jax.Array):
    return estimates
  return jax.device_put(np.asarray(estimates, np.float32))


def _fetch(sums: np.ndarray, arrived: list[tuple[int, jax.Array]]) -> None:
  """Wait for pieces [B, N, C, hop] and add them to the sums [N, C, L]."""
  length = sums.shape[-1]
  while arrived:  # each is released as soon as it is added
    start, pieces = arrived.pop()
    for piece in np.asarray(pieces):
      part = sums[..., start : start + piece.shape[-1]]
      part += piece[..., : part.shape[-1]]
      start += piece.shape[-1]
      if start >= length:
        break


def _divide_by_cover(estimates: np.ndarray, starts: range, chunk: int) -> None:
  """Divide sums [N, C, L] by the number of chunks that cover each sample."""
  borders = sorted({*starts, *(start + chunk for start in starts)})
  for start, stop in pairwise(borders):
    # The chunks that cover this stretch begin after start - chunk, up to start.
    first = max(0, (start - chunk) // starts.step + 1)
    last = min(start // starts.step, len(starts) - 1)
    if last > first:
      estimates[..., start:stop] /= last - first + 1
