"""Whole songs as streams: stems and mixture in blocks, in bounded memory."""

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mixit_jax.audio.recording import Recording, check_recording
from mixit_jax.audio.resampling import resample_blocks, resampled_length
from mixit_jax.audio.streams import fitted, in_step
from mixit_jax.data.songs import check_lengths, stem_files
from mixit_jax.errors import UserError
from mixit_jax.stems import MIXTURE


@dataclasses.dataclass(frozen=True)
class StreamedSong:
  """A song whose files can all be decoded.

  Attributes:
    name: of its folder.
    references: the stems, N recordings.
    mixture: the file of the mixture; None where the sum of the stems stands for it.
    sample_rate: of the blocks, in Hz.
    num_channels: channels C of the blocks.
    length: samples L, those of the shortest file.
  """

  name: str
  references: tuple[Recording, ...]
  mixture: Recording | None
  sample_rate: int
  num_channels: int
  length: int

  @property
  def seconds(self) -> float:
    """Length in seconds."""
    return self.length / self.sample_rate

  def reference_blocks(self) -> Generator[np.ndarray, None, None]:
    """Yield the stems [N, C, l] in order, float32."""
    yield from self.stacked(self.references)

  def mixture_blocks(self) -> Generator[np.ndarray, None, None]:
    """Yield the mixture [C, l] in order, float32."""
    if self.mixture is not None:
      yield from self._blocks(self.mixture)
    else:
      yield from (block.sum(axis=0) for block in self.reference_blocks())

  def stacked(
    self, recordings: Sequence[Recording]
  ) -> Generator[np.ndarray, None, None]:
    """Yield recordings side by side [N, C, l], at the rate and length of the song."""
    streams = [self._blocks(recording) for recording in recordings]
    yield from (np.stack(blocks) for blocks in in_step(streams))

  def _blocks(self, recording: Recording) -> Generator[np.ndarray, None, None]:
    blocks = resample_blocks(
      recording.blocks(), recording.sample_rate, self.sample_rate
    )
    copies = self.num_channels // recording.num_channels
    for block in fitted(blocks, self.length):
      yield np.repeat(block, copies, axis=0) if copies > 1 else block


def open_song(
  folder: Path,
  stems: Sequence[str],
  sample_rate: int | None = None,
  num_channels: int | None = None,
) -> StreamedSong:
  """Open a song folder; every file is decoded once to see that it can be.

  Args:
    folder: with a file for each stem, and maybe one for the mixture.
    stems: names of the stems.
    sample_rate: in Hz, to which files are resampled; None takes that of the files,
      which must be one.
    num_channels: channels wanted, which a mono file gives as well; None takes those
      of the files, which must be equal.

  Raises:
    UserError: a stem is missing, lengths differ by more than 0.1 s, or rates or
      channels do not fit.
    AudioError: a file cannot be decoded.
  """
  folder = Path(folder)
  files = stem_files(folder, [*stems, MIXTURE])
  if missing := [stem for stem in stems if stem not in files]:
    raise UserError(f"{folder}: lacks a file for {', '.join(missing)}")
  found = {name: check_recording(path) for name, path in files.items()}
  first = found[stems[0]]
  rate = sample_rate or first.sample_rate
  channels = num_channels or first.num_channels
  for recording in found.values():
    if sample_rate is None:
      check_rate(recording, first)
    allowed = {channels} if num_channels is None else {1, channels}
    if recording.num_channels not in allowed:
      raise UserError(
        f"{recording.name}: has {recording.num_channels} channels, expected {channels}:"
        " convert it first"
      )
  return StreamedSong(
    folder.name,
    tuple(found[stem] for stem in stems),
    found.get(MIXTURE),
    rate,
    channels,
    common_length(folder, found, rate),
  )


def check_rate(recording: Recording, other: Recording) -> None:
  """Raise a UserError unless two recordings have one sample rate."""
  if recording.sample_rate != other.sample_rate:
    raise UserError(
      f"{recording.name}: has {recording.sample_rate} Hz, but {other.name} has"
      f" {other.sample_rate} Hz; resample one of them"
    )


def common_length(
  folder: Path, recordings: Mapping[str, Recording], sample_rate: int
) -> int:
  """Return the samples that all recordings have, at a rate.

  Raises:
    UserError: lengths differ by more than 0.1 s.
  """
  lengths = {
    each.name: resampled_length(each.length, each.sample_rate, sample_rate)
    for each in recordings.values()
  }
  check_lengths(folder, lengths, sample_rate)
  return min(lengths.values())
