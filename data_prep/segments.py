"""Cut segments out of audio, and the shards of stems."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.shards import ShardPlace, printable, read_report, write_tracks
from data_prep.sums import read_sum
from mixit_jax.audio.activity import active_segments
from mixit_jax.audio.files import AudioError
from mixit_jax.audio.quiet import silent
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

  def record(self, track: str, audio: np.ndarray, start: int) -> bytes:
    """Encode a segment [C, samples] that starts at a sample of a track."""
    segment = Segment(audio, printable(track), start / self.sample_rate)
    return encode_segment(segment, self.sample_rate, self.codec)

  def records(
    self, track: str, audio: np.ndarray, starts: list[int]
  ) -> Iterator[bytes]:
    """Encode the segments of a track [C, L] that start at the given samples."""
    for start in starts:
      yield self.record(track, audio[:, start : start + self.samples], start)


@contextmanager
def quiet_decoders() -> Iterator[None]:
  """Hide what C libraries print about broken files; the manifest says it briefly."""
  sys.stderr.flush()
  with silent():
    yield


def segments_of(
  blocks: Iterable[np.ndarray], samples: int, hop: int
) -> Iterator[tuple[int, np.ndarray]]:
  """Cut audio that comes in blocks; memory does not grow with its length.

  Args:
    blocks: audio [C, l] in order.
    samples: length of a segment.
    hop: samples from one start to the next.

  Yields:
    first sample and audio [C, samples] of each segment that is whole.
  """
  parts: list[np.ndarray] = []
  first = start = 0  # first sample of the parts, and of the next segment
  held = 0
  for block in blocks:
    parts.append(block)
    held += block.shape[1]
    if first + held < start + samples:
      continue
    window = np.concatenate(parts, axis=1)
    while start + samples <= first + held:
      yield start, window[:, start - first : start - first + samples]
      start += hop
    passed = min(start - first, held)
    parts, first, held = [window[:, passed:]], first + passed, held - passed


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
