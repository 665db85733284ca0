"""Separation of recordings of any length, chunk by chunk, in bounded memory."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, Sharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

from mixit_jax.errors import UserError

Window = Literal["mean", "triangle", "hann"]


def separate_long(
  separate_chunks: Callable[[np.ndarray], ArrayLike],
  mixture: np.ndarray,
  chunk: int,
  hop: int,
  batch: int = 1,
  window: Window = "mean",
) -> np.ndarray:
  """Separate a recording in overlapping chunks and average the overlaps.

  Memory holds the result beside what `separate_stream` needs.

  Args:
    separate_chunks: see `separate_stream`.
    mixture: recording [C, L].
    chunk: samples of a chunk.
    hop: samples from one start to the next, at most `chunk`.
    batch: chunks separated at a time.
    window: weights in the averages.

  Returns:
    estimates [N, C, L], float32.

  Raises:
    UserError: the sizes or the shape of the mixture are not valid.
  """
  if mixture.ndim != 2 or mixture.shape[1] == 0:
    raise UserError(
      f"mixture: expected channels and samples [C, L], found shape {mixture.shape}"
    )
  length = mixture.shape[1]
  return joined(
    separate_stream(separate_chunks, [mixture], length, chunk, hop, batch, window),
    length,
  )


def joined(blocks: Iterable[np.ndarray], length: int) -> np.ndarray:
  """Join blocks [..., l] of `length` > 0 samples in all to audio [..., L]."""
  audio: np.ndarray | None = None
  place = 0
  for block in blocks:
    if audio is None:
      audio = np.empty((*block.shape[:-1], length), block.dtype)
    audio[..., place : place + block.shape[-1]] = block
    place += block.shape[-1]
  assert audio is not None
  return audio


def separate_stream(
  separate_chunks: Callable[[np.ndarray], ArrayLike],
  blocks: Iterable[np.ndarray],
  length: int,
  chunk: int,
  hop: int,
  batch: int = 1,
  window: Window = "mean",
) -> Iterator[np.ndarray]:
  """Separate a recording that comes in blocks; the estimates leave in blocks as well.

  The chunks start every `hop` samples; the last one is padded with zeros. A silent
  chunk gives silence, and groups of `batch` consecutive chunks begin at one that is
  not silent. A recording of at most one chunk is separated whole. The paper takes
  12-s chunks every 6 s and their mean.

  Overlaps are added where the estimates are computed, so each sample of the result
  travels to the host once, while the next group is computed. Memory holds two groups
  with their estimates, whatever the length of the recording.

  Args:
    separate_chunks: maps mixtures [B, C, chunk] to estimates [B, N, C, chunk]. It may
      return a JAX array that is not computed yet, divided over devices along B. B is
      always `batch`, filled up with zeros. A recording shorter than a chunk comes as
      [B, C, L]. A silent recording is also passed to it, to learn N.
    blocks: the recording [C, l], in order.
    length: samples of the recording L > 0.
    chunk: samples of a chunk.
    hop: samples from one start to the next, at most `chunk`.
    batch: chunks separated at a time.
    window: weights of a chunk's samples where chunks overlap: equal ("mean"), or
      falling from its middle to its ends ("triangle", "hann").

  Yields:
    estimates [N, C, l] of up to `hop` samples in order, float32.

  Raises:
    UserError: the sizes are not valid, or the blocks have not `length` samples.
  """
  if not 1 <= hop <= chunk:
    raise UserError(
      f"hop: expected 1 to {chunk} samples (the chunk), found {hop}; longer steps"
      " would leave gaps between chunks"
    )
  if batch < 1:
    raise UserError(f"batch: expected at least one chunk at a time, found {batch}")
  if window not in WINDOWS:
    raise UserError(f"window: {window!r} is not one of {', '.join(WINDOWS)}")
  chunk = min(chunk, length)
  count = 1 + -(-(length - chunk) // hop)
  if count == 1:
    hop = chunk  # nothing overlaps
  weights = _weights(window, chunk)
  slots = _Slots(hop, length, _Cover(weights, hop, count))
  factors = None if window == "mean" else weights
  stretch = _Stretch(0, hop, factors)
  # Pieces with the slot of their first, still being copied to the host.
  waiting: list[tuple[int, jax.Array]] = []
  for first, chunks, sounding in _groups(blocks, length, chunk, hop, count, batch):
    estimates = _on_device(separate_chunks(chunks))
    arrived, waiting = waiting, []
    if stretch.stop != first:
      waiting += stretch.rest()
      stretch = _Stretch(first, hop, factors)
    waiting += stretch.add(estimates, sounding)
    slots.shape = estimates.shape[1:-1]
    del estimates
    _fetch(slots.sums, arrived)
    yield from slots.take(waiting[0][0])
  _fetch(slots.sums, [*waiting, *stretch.rest()])
  yield from slots.take(-(-length // hop))


def _groups(
  blocks: Iterable[np.ndarray],
  length: int,
  chunk: int,
  hop: int,
  count: int,
  batch: int,
) -> Iterator[tuple[int, np.ndarray, list[bool]]]:
  """Cut a recording into groups of chunks; each begins at the next chunk that sounds.

  Yields:
    number of the first chunk, chunks [batch, C, chunk] and which of them sound. Of a
    silent recording, the last chunk alone.
  """
  source = _Source(blocks, length)
  silent = True
  index = 0
  while index < count:
    piece = source.read(index * hop, index * hop + chunk)
    if not piece.any() and not (silent and index == count - 1):
      index += 1
      continue
    silent = False
    size = min(batch, count - index)
    recording = source.read(index * hop, (index + size - 1) * hop + chunk)
    chunks = np.zeros((batch, len(recording), chunk), np.float32)
    for number, row in enumerate(chunks[:size]):
      piece = recording[:, number * hop : number * hop + chunk]
      row[:, : piece.shape[1]] = piece
    yield index, chunks, [bool(row.any()) for row in chunks[:size]]
    index += size


class _Source:
  """A recording in blocks, of which only what is still needed is kept."""

  def __init__(self, blocks: Iterable[np.ndarray], length: int):
    self._blocks, self._length = iter(blocks), length
    self._kept = np.zeros((0, 0), np.float32)
    self._start = self._stop = 0  # of what is kept

  def read(self, start: int, stop: int) -> np.ndarray:
    """Return samples [C, stop - start], fewer at the end; what is before is dropped."""
    stop = min(stop, self._length)
    parts = [self._kept[:, start - self._start :]] if start < self._stop else []
    while self._stop < stop:
      block = next(self._blocks, None)
      if block is None:
        raise UserError(
          f"blocks: expected {self._length} samples, found only {self._stop}"
        )
      self._stop += block.shape[1]
      if self._stop > start:
        parts.append(block[:, max(0, start - self._stop + block.shape[1]) :])
    self._kept = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    self._start = start
    return self._kept[:, : stop - start]


class _Cover:
  """Sums of the weights of all chunks that cover a sample."""

  def __init__(self, weights: np.ndarray, hop: int, count: int):
    self._count = count
    reach = -(-len(weights) // hop)
    padded = np.pad(weights, (0, reach * hop - len(weights)))
    self._parts = padded.reshape(reach, hop)

  def of_slot(self, slot: int) -> np.ndarray:
    """Return the sums [hop] from the start of a chunk (or where one would be)."""
    last = self._count - 1
    late = range(max(0, slot - last), min(slot, len(self._parts) - 1) + 1)
    return self._parts[late.start : late.stop].sum(axis=0)


class _Slots:
  """Sums from each start of a chunk to the next, until they can leave.

  Attributes:
    shape: [N, C] of the estimates.
    sums: by their number [N, C, hop]; where there is none, all chunks are silent.
  """

  def __init__(self, hop: int, length: int, cover: _Cover):
    self.shape: tuple[int, ...] = ()
    self.sums: dict[int, np.ndarray] = {}
    self._hop, self._length, self._cover = hop, length, cover
    self._next = 0

  def take(self, stop: int) -> Iterator[np.ndarray]:
    """Yield the averages [N, C, l] of the slots before `stop`."""
    for slot in range(self._next, stop):
      size = min(self._hop, self._length - slot * self._hop)
      sums = self.sums.pop(slot, None)
      if size <= 0:
        continue
      if sums is None:
        yield np.zeros((*self.shape, size), np.float32)
      else:
        yield sums[..., :size] / self._cover.of_slot(slot)[:size]
    self._next = stop


def _fetch(sums: dict[int, np.ndarray], arrived: list[tuple[int, jax.Array]]) -> None:
  """Wait for pieces [B, N, C, hop] and add them to the sums of their slots."""
  while arrived:  # each is released as soon as it is added
    first, pieces = arrived.pop()
    for slot, piece in enumerate(np.asarray(pieces), first):
      sums[slot] = sums[slot] + piece if slot in sums else piece


def _weights(window: Window, chunk: int) -> np.ndarray:
  """Return the weights [chunk] of a chunk's samples, float32; none is zero."""
  return WINDOWS[window]((np.arange(chunk) + 0.5) / chunk).astype(np.float32)


# Weights by the place in a chunk, from 0 to 1.
WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  "mean": np.ones_like,
  "triangle": lambda place: 1 - np.abs(2 * place - 1),
  "hann": lambda place: np.sin(np.pi * place) ** 2,
}


class _Stretch:
  """Consecutive groups, whose sums past their last start stay on the device.

  Attributes:
    stop: number of the chunk that the next group must start at.
  """

  def __init__(self, start: int, hop: int, weights: np.ndarray | None):
    self.stop = start
    self._hop, self._weights = hop, weights
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
    weights = () if self._weights is None else (self._weights,)
    given = jax.device_put((rows, *weights), whole)
    pieces, self._tail = adder(estimates, given[0], self._tail, *given[1:])
    pieces.copy_to_host_async()
    first = self.stop
    self.stop += batch
    return [(first, pieces)]

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
  estimates: jax.Array,
  sounding: jax.Array,
  tail: jax.Array,
  weights: jax.Array | None = None,
  *,
  hop: int,
) -> tuple[jax.Array, jax.Array]:
  """Add the estimates of consecutive chunks.

  The sums do not depend on the size of the groups: every sample's chunks are added
  from the first to the last.

  Args:
    estimates: of chunks that start every `hop` samples [B, N, C, chunk].
    sounding: which of them count [B].
    tail: sums that earlier groups left from the first start on [R - 1, N, C, hop],
      where R = ceil(chunk / hop).
    weights: of the samples of a chunk [chunk]; None for 1.
    hop: samples from one start to the next.

  Returns:
    sums from each start to the next [B, N, C, hop], and the new tail.
  """
  batch, chunk = len(estimates), estimates.shape[-1]
  reach = -(-chunk // hop)
  if weights is not None:
    estimates = estimates * weights[None, None, None]
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
