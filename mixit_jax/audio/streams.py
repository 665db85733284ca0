"""Audio in blocks [..., l]: later, cut to a length, in step with other audio."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np


def delayed(blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
  """Yield blocks after so many samples of silence."""
  for number, block in enumerate(blocks):
    if number == 0 and samples:
      yield np.zeros((*block.shape[:-1], samples), block.dtype)
    yield block


def fitted(
  blocks: Iterable[np.ndarray], length: int, skip: int = 0
) -> Iterator[np.ndarray]:
  """Cut audio to a length, or fill it up with silence.

  Args:
    blocks: the audio, at least one block.
    length: samples to yield in all.
    skip: samples to leave out at the start.

  Yields:
    blocks [..., l], none of them empty.
  """
  missing = length
  for block in blocks:
    part = block[..., skip : skip + missing]
    skip = max(0, skip - block.shape[-1])
    shape = block.shape[:-1]
    if part.shape[-1]:
      missing -= part.shape[-1]
      yield part
    if not missing:
      return
  yield np.zeros((*shape, missing), np.float32)


def in_step(
  streams: Sequence[Iterable[np.ndarray]],
) -> Iterator[tuple[np.ndarray, ...]]:
  """Yield the streams side by side, in blocks of one length at a time.

  Args:
    streams: audio in blocks [..., l] of any lengths, none empty, all equally long.
  """
  iterators = [iter(stream) for stream in streams]
  held: list[np.ndarray | None] = [None] * len(iterators)
  while True:
    blocks = []
    for index, iterator in enumerate(iterators):
      block = held[index]
      if block is None:
        block = next(iterator, None)
      if block is None:
        return
      blocks.append(block)
    size = min(block.shape[-1] for block in blocks)
    yield tuple(block[..., :size] for block in blocks)
    held = [block[..., size:] if block.shape[-1] > size else None for block in blocks]
