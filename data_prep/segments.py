"""Cut segments out of audio files: one job per shard, which any engine can run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.shards import ShardPlace, printable, read_report, write_tracks
from data_prep.sums import read_sum
from mixit_jax.audio.activity import active_segments, is_mostly_silent, segment_starts
from mixit_jax.audio.files import AudioError, decode, resample
from mixit_jax.data.records import Codec, Segment, encode_segment
from mixit_jax.errors import UserError

NUM_CHANNELS = 2


@dataclass(frozen=True)
class Cut:
  """How segments are cut.

  Attributes:
    sample_rate: rate of the segments in Hz.
    seconds: length of a segment.
    hop: seconds from the start of one segment to that of the next.
    codec: codec of the records.

  Raises:
    UserError: a segment or a hop would not hold a sample.
  """

  sample_rate: int
  seconds: float
  hop: float
  codec: Codec

  def __post_init__(self) -> None:
    if self.samples < 1 or round(self.hop * self.sample_rate) < 1:
      raise UserError(
        f"--seconds={self.seconds:g} and --hop={self.hop:g}: expected at least one"
        f" sample at {self.sample_rate} Hz"
      )

  @property
  def samples(self) -> int:
    """Length of a segment in samples."""
    return round(self.seconds * self.sample_rate)

  def records(
    self, track: str, audio: np.ndarray, starts: list[int]
  ) -> Iterator[bytes]:
    """Encode the segments of a track that start at the given samples."""
    name = printable(track)
    for start in starts:
      segment = Segment(
        audio[:, start : start + self.samples], name, start / self.sample_rate
      )
      yield encode_segment(segment, self.sample_rate, self.codec)


@contextmanager
def quiet_decoders() -> Iterator[None]:
  """Hide what C libraries print about broken files; the manifest says it briefly."""
  sys.stderr.flush()
  kept = os.dup(2)
  with Path(os.devnull).open("wb") as nowhere:
    os.dup2(nowhere.fileno(), 2)
  try:
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


@dataclass(frozen=True)
class MusicShard:
  """A shard of unlabeled music.

  Attributes:
    place: where it belongs.
    audio: folder of the tracks.
    tracks: their paths in it.
    cut: how segments are cut.
    strict: whether to refuse mono files and low sample rates, as the paper does.
  """

  place: ShardPlace
  audio: Path
  tracks: tuple[str, ...]
  cut: Cut
  strict: bool

  def is_finished(self) -> bool:
    """Tell whether the shard is complete."""
    return read_report(self.place) is not None

  def run(self) -> None:
    """Write the shard; see `shards.write_tracks`."""
    write_tracks(self.place, self.tracks, self._cut_track)

  def _cut_track(self, track: str) -> Iterator[bytes]:
    with quiet_decoders():
      audio, rate = decode(self.audio / track, name=track)
    _check_format(track, len(audio), rate, self.cut.sample_rate, self.strict)
    audio = resample(audio, rate, self.cut.sample_rate)
    if len(audio) == 1:
      audio = np.repeat(audio, NUM_CHANNELS, axis=0)
    samples, rate = self.cut.samples, self.cut.sample_rate
    starts = segment_starts(audio.shape[1], samples, round(self.cut.hop * rate))
    if not starts:
      raise AudioError(
        track,
        f"its {audio.shape[1] / rate:.2f} s are shorter than a segment of"
        f" {self.cut.seconds:g} s",
      )
    kept = [s for s in starts if not is_mostly_silent(audio[:, s : s + samples], rate)]
    if not kept:
      raise AudioError(track, f"all of its {len(starts)} segments are mostly silent")
    yield from self.cut.records(track, audio, kept)


def _check_format(
  track: str, channels: int, rate: int, least_rate: int, strict: bool
) -> None:
  """Raise an AudioError for a file with the wrong channels or too low a rate."""
  allowed = (NUM_CHANNELS,) if strict else (1, NUM_CHANNELS)
  if channels not in allowed:
    wanted = "stereo" if strict else "mono or stereo"
    raise AudioError(track, f"has {channels} channel(s), only {wanted} is accepted")
  if strict and rate < least_rate:
    raise AudioError(
      track, f"has a sample rate of {rate} Hz, at least {least_rate} Hz is accepted"
    )


@dataclass(frozen=True)
class StemShard:
  """A shard of one stem of labeled songs.

  Attributes:
    place: where it belongs; its source is the stem.
    folder: folder of all songs.
    files: the stem of every song, as paths in that folder, such as
      <split>/<song>/<stem>.wav; several files of one song are summed.
    cut: how segments are cut.
  """

  place: ShardPlace
  folder: Path
  files: tuple[tuple[str, ...], ...]
  cut: Cut

  def is_finished(self) -> bool:
    """Tell whether the shard is complete."""
    return read_report(self.place) is not None

  def run(self) -> None:
    """Write the shard; see `shards.write_tracks`."""
    songs = {files[0]: files for files in self.files}
    write_tracks(self.place, songs, lambda first: self._cut_stem(songs[first]))

  def _cut_stem(self, files: tuple[str, ...]) -> Iterator[bytes]:
    rate = self.cut.sample_rate
    file = files[0]
    try:
      with quiet_decoders():
        audio = read_sum([self.folder / name for name in files], rate, NUM_CHANNELS)
    except AudioError as error:
      raise AudioError(file, error.reason) from error
    starts, _ = active_segments(audio, rate, self.cut.seconds, self.cut.hop)
    if not starts:
      raise AudioError(file, SILENT_STEM)
    yield from self.cut.records(Path(file).parent.name, audio, starts)


# A stem that is silent throughout is normal: some songs have no vocals.
SILENT_STEM = "never sounds for long enough"
