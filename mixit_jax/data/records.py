"""Segments of music in ArrayRecord shards, and the manifest that describes them.

A record is an ordinary 16-bit FLAC (or WAV) file in bytes, so that any program can
read a shard. The title of the file is the track the segment was cut from, and its
comment is `start=<seconds>`. Shards lie in one folder per source ("mixture" for
unlabeled music, or the name of a stem), beside `manifest.json`:

    <folder>/manifest.json
    <folder>/<source>/<split>-00000-of-00016.arrayrecord
"""

import bisect
import contextlib
import dataclasses
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, SupportsIndex

import numpy as np
import soundfile
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from mixit_jax.audio.pcm import PCM_SCALE, to_float32
from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import UserError
from mixit_jax.files import replacing

__all__ = [
  "Manifest",
  "RecordError",
  "RecordPlace",
  "Segment",
  "ShardSource",
  "decode_segment",
  "encode_segment",
  "open_shards",
  "write_shard",
]

Codec = Literal["flac", "wav"]

_START = "start="


class RecordError(UserError):
  """A record that cannot be read or made; the message says which."""


@dataclasses.dataclass(frozen=True)
class Segment:
  """A stretch of music.

  Attributes:
    audio: samples [C, L], float32 or, as records hold them, int16.
    track: the track that it was cut from, such as its relative file name.
    start: where in the track it starts, in seconds.
  """

  audio: np.ndarray
  track: str
  start: float


class RecordPlace(NamedTuple):
  """Where a record lies, and the track that its segment was cut from."""

  shard: Path
  number: int
  track: str


def encode_segment(segment: Segment, sample_rate: int, codec: Codec = "flac") -> bytes:
  """Return the segment as a 16-bit FLAC or WAV file.

  Samples of 16-bit recordings survive unchanged. A segment that 16 bits cannot hold
  (decoded MP3s reach peaks of 1.6) is scaled down to a peak of 1, never clipped.

  Raises:
    RecordError: the segment holds no samples, or samples that are not finite.
  """
  audio = np.asarray(to_float32(segment.audio), np.float64)
  where = f"segment of {segment.track!r} at {segment.start:g} s"
  if audio.ndim != 2 or audio.size == 0:
    raise RecordError(f"{where}: expected samples [C, L], found shape {audio.shape}")
  if not np.isfinite(audio).all():
    raise RecordError(f"{where}: holds samples that are not finite")
  top = (PCM_SCALE - 1) / PCM_SCALE
  if audio.max() > top or audio.min() < -1.0:
    audio = audio * (top / np.abs(audio).max())
  pcm = np.round(audio * PCM_SCALE).astype(np.int16)
  buffer = io.BytesIO()
  with soundfile.SoundFile(
    buffer,
    "w",
    samplerate=sample_rate,
    channels=pcm.shape[0],
    format=codec.upper(),
    subtype="PCM_16",
  ) as file:
    if segment.track:  # libsndfile refuses empty tags
      # File names that are not UTF-8 hold surrogates, which no tag can hold.
      file.title = segment.track.encode("utf-8", "backslashreplace").decode()
    file.comment = f"{_START}{float(segment.start)!r}"
    file.write(pcm.T)
  return buffer.getvalue()


def decode_segment(data: bytes, name: str = "record") -> Segment:
  """Return the segment that `encode_segment` encoded as `data`, int16.

  Raises:
    RecordError: the bytes are not such a file; the message starts with `name`.
  """
  segment, _ = _decode(data, name)
  return segment


def _decode(
  data: bytes, name: str, first: int = 0, length: int | None = None
) -> tuple[Segment, soundfile.SoundFile]:
  """Decode `length` samples from `first` on, by default all; also return the file.

  The file is closed: only its header is left.
  """
  try:
    with _opened(data) as file:
      expected = file.frames - first if length is None else length
      file.seek(first)
      pcm = file.read(expected, dtype="int16", always_2d=True)
      track, comment, rate = file.title, file.comment, file.samplerate
  except (RuntimeError, ValueError, OSError) as error:
    raise RecordError(f"{name}: cannot be decoded ({error})") from error
  if file.subtype != "PCM_16":
    raise RecordError(f"{name}: expected 16-bit samples, found {file.subtype}")
  if len(pcm) != expected:
    raise RecordError(f"{name}: {len(pcm)} of {expected} samples can be decoded")
  try:
    start = float(comment.removeprefix(_START))
  except ValueError:
    raise RecordError(
      f"{name}: expected the comment '{_START}<seconds>', found {comment!r}"
    ) from None
  audio = np.ascontiguousarray(pcm.T)
  return Segment(audio, track, start + first / rate), file


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[soundfile.SoundFile]:
  """Open a file in memory for reading."""
  if not hasattr(os, "memfd_create"):  # only Linux has it
    with soundfile.SoundFile(io.BytesIO(data)) as file:
      yield file
    return
  # libsndfile reads a file of the system by itself, but a stream through callbacks
  # that wait for the interpreter's lock.
  with os.fdopen(os.memfd_create("record"), "w+b") as content:
    content.write(data)
    content.seek(0)
    with soundfile.SoundFile(content.fileno(), closefd=False) as file:
      yield file


def write_shard(path: Path, records: Iterable[bytes]) -> int:
  """Write a shard that allows fast random access; return its number of records.

  The shard appears under its name only when it is complete: it is written under a
  hidden name in the same folder and then renamed.

  Raises:
    UserError: the shard cannot be written, for instance to a full disk.
  """
  path = Path(path)
  with _writing(path):
    path.parent.mkdir(parents=True, exist_ok=True)
  with replacing(path) as temporary:
    # Groups of one record: a random read then decodes nothing but its own record.
    with _writing(path):
      writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
    count = 0
    try:
      for record in records:
        with _writing(path):
          writer.write(record)
        count += 1
    finally:
      with _writing(path):
        writer.close()
  return count


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
  """Turn the errors of writing, and no others, into a UserError."""
  try:
    yield
  except (RuntimeError, OSError) as error:
    raise UserError(f"{path}: cannot be written ({error})") from error


def open_shards(folder: Path, split: str, source: str) -> "ShardSource":
  """Open all shards of one source ("mixture" or a stem) of one split.

  Raises:
    UserError: the manifest, the split, the source or a shard is missing, or a
      shard is truncated or does not hold the number of records the manifest states.
  """
  return ShardSource(Path(folder), Manifest.load(folder), split, source)


class ShardSource:
  """The segments of one source and split; a random access data source for Grain.

  Record ids count the records of all shards in the order of the manifest. Reading
  is thread-safe.

  Attributes:
    manifest: the manifest of the data set.
    split: the split.
    source: the source.
    num_samples: samples of every segment.
  """

  def __init__(self, folder: Path, manifest: Manifest, split: str, source: str):
    self.manifest = manifest
    self.split = split
    self.source = source
    self.num_samples = round(manifest.seconds * manifest.sample_rate)
    shards = [s for s in manifest.shards(folder, split, source) if s["records"] > 0]
    self._paths = [folder / shard["file"] for shard in shards]
    with ThreadPoolExecutor(16) as pool:
      self._readers = list(
        pool.map(_open_shard, self._paths, [shard["records"] for shard in shards])
      )
    self._ends = list(itertools.accumulate(shard["records"] for shard in shards))
    if not self._ends:
      raise UserError(
        f"{folder}: source {source!r} of split {split!r} holds no record;"
        " prepare the data again from more music"
      )

  def __len__(self) -> int:
    """Return the number of records."""
    return self._ends[-1]

  def __getitem__(self, record: SupportsIndex) -> Segment:
    """Read one segment; errors are those of `read`."""
    return self.read(record)

  def read(
    self, record: SupportsIndex, first: int = 0, length: int | None = None
  ) -> Segment:
    """Read `length` samples of a segment from sample `first` on, by default all.

    They are int16, as the record holds them. Only these samples are decoded, since
    decoding takes most of the time.

    Raises:
      RecordError: the record is corrupt or does not fit the manifest; it names
        the shard and the record.
      IndexError: there is no such record or sample.
    """
    length = self.num_samples - first if length is None else length
    if first < 0 or length < 0 or first + length > self.num_samples:
      raise IndexError(f"samples {first} to {first + length} of {self.num_samples}")
    shard, number = self._locate(record)
    name = f"{self._paths[shard]}, record {number}"
    try:
      data = self._readers[shard][number]
    except (RuntimeError, ValueError, OSError) as error:
      raise RecordError(
        f"{name}: cannot be read ({error}); the shard is damaged: delete it and"
        " prepare the data again"
      ) from error
    segment, file = _decode(data, name, first, length)
    found = (file.samplerate, file.channels, file.frames)
    expected = (self.manifest.sample_rate, self.manifest.num_channels, self.num_samples)
    if found != expected:
      raise RecordError(
        f"{name}: expected (rate, channels, samples) {expected} as in the manifest,"
        f" found {found}; prepare the data again"
      )
    return segment

  def place(self, record: SupportsIndex) -> RecordPlace:
    """Return where a record lies and the track of its segment; decode no audio.

    Raises:
      RecordError, IndexError: as in `read`.
    """
    shard, number = self._locate(record)
    return RecordPlace(self._paths[shard], number, self.read(record, length=0).track)

  def _locate(self, record: SupportsIndex) -> tuple[int, int]:
    """Return the shard and the number of the record in it."""
    index = record.__index__()
    if not 0 <= index < len(self):
      raise IndexError(f"record {index} of {len(self)}")
    shard = bisect.bisect_right(self._ends, index)
    return shard, index - (self._ends[shard - 1] if shard else 0)


def _open_shard(path: Path, records: int) -> ArrayRecordDataSource:
  """Open a shard and check that it holds as many records as stated."""
  again = "delete it and prepare the data again"
  if not path.is_file():
    raise UserError(f"{path}: the shard is missing; copy it or prepare the data again")
  try:
    reader = ArrayRecordDataSource(str(path))
  except (RuntimeError, ValueError, OSError) as error:
    raise UserError(
      f"{path}: the shard is truncated or damaged ({error}); {again}"
    ) from error
  if len(reader) != records:
    raise UserError(
      f"{path}: expected {records} records as in the manifest, found {len(reader)};"
      f" {again}"
    )
  return reader
