"""What outputs are chosen by: stems of whole songs, and what a model makes of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mixit_jax.data.songs import read_song, song_chunks
from mixit_jax.errors import UserError
from mixit_jax.separator.compiled import SeparateChunks
from mixit_jax.separator.config import SeparatorConfig

# Chunks that are separated together.
_BATCH = 4


def separated_songs(
  separate: SeparateChunks,
  config: SeparatorConfig,
  songs: Sequence[Path],
  stems: Sequence[str],
  seconds: float = 6.0,
  batch: int = _BATCH,
  progress: Callable[[str], None] = lambda _: None,
  left_out: Callable[[Path, Exception], None] | None = None,
) -> Iterator[Iterator[tuple[np.ndarray, np.ndarray]]]:
  """Yield of each song the stems [N, C, L] and the outputs [M, C, L] of its chunks.

  Args:
    separate: separation of chunks [B, C, L] into [B, M, C, L].
    config: configuration of the model.
    songs: folders of songs with stems, the validation songs in the paper.
    stems: names of the stems.
    seconds: length of the chunks.
    batch: chunks that are separated together.
    progress: called with the name of each song.
    left_out: called with each song that cannot be read, and why; the others count.
      None raises the first error.

  Raises:
    UserError: a song (or every song) cannot be read.
  """
  found = False
  for folder in songs:
    progress(folder.name)
    try:
      song = read_song(folder, stems, config.sample_rate, config.num_channels)
    except (UserError, OSError, MemoryError) as error:
      if left_out is None:
        raise
      left_out(folder, error)
    else:
      found = True
      length = round(seconds * config.sample_rate)
      yield separated_chunks(separate, song_chunks(song, length, length), batch)
  if not found:
    raise UserError(f"none of {len(songs)} songs can be read")


def separated_chunks(
  separate: SeparateChunks,
  chunks: Iterable[tuple[np.ndarray, np.ndarray]],
  batch: int = _BATCH,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yield the stems [N, C, L] and the outputs [M, C, L] of chunks of one length.

  Args:
    separate: separation of chunks [B, C, L] into [B, M, C, L].
    chunks: stems [N, C, L] and mixture [C, L] of each.
    batch: chunks that are separated together.
  """
  pairs = list(chunks)
  for first in range(0, len(pairs), batch):
    part = pairs[first : first + batch]
    # Always the same shape, so that it is compiled once.
    mixtures = np.stack([mixture for _, mixture in part])
    padding = ((0, batch - len(part)), (0, 0), (0, 0))
    estimates = np.asarray(separate(np.pad(mixtures, padding)))
    yield from (
      (references, estimate)
      for (references, _), estimate in zip(part, estimates, strict=False)
    )
