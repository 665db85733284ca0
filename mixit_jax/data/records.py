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
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, SupportsIndex

from array_record.python.array_record_module import ArrayRecordWriter

from mixit_jax.data.encoding import (
  Codec,
  Header,
  RecordError,
  Segment,
  decode_part,
  decode_segment,
  encode_segment,
  read_part,
)
from mixit_jax.data.limits import OpenFilesError
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.readers import READERS, open_reader
from mixit_jax.errors import UserError
from mixit_jax.files import replacing

__all__ = [
  "Codec",
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

# Threads that check the shards of a source when it is opened.
_OPENING = 16


class RecordPlace(NamedTuple):
  """Where a record lies, and the track that its segment was cut from."""

  shard: Path
  number: int
  track: str


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
    self._expected = Header(
      manifest.sample_rate, manifest.num_channels, self.num_samples
    )
    shards = [s for s in manifest.shards(folder, split, source) if s["records"] > 0]
    self._paths = [folder / shard["file"] for shard in shards]
    with ThreadPoolExecutor(_OPENING) as pool:
      list(pool.map(_check_shard, self._paths, [s["records"] for s in shards]))
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

    They are int16, as the record holds them. Of a FLAC record only these samples are
    decoded, of a WAV record only they are read: this takes most of the time.

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
      part = self._read_part(shard, number, name, first, length)
      data = READERS.read(self._paths[shard], number) if part is None else b""
    except OpenFilesError as error:
      raise OpenFilesError(f"{self._paths[shard]}: {error}") from error
    except (RuntimeError, ValueError, OSError) as error:
      raise RecordError(
        f"{name}: cannot be read ({error}); the shard is damaged: delete it and"
        " prepare the data again"
      ) from error
    segment, found = part or decode_part(data, name, first, length)
    if found != self._expected:
      raise RecordError(
        f"{name}: expected (rate, channels, samples) {tuple(self._expected)} as in the"
        f" manifest, found {tuple(found)}; prepare the data again"
      )
    return segment

  def _read_part(
    self, shard: int, number: int, name: str, first: int, length: int
  ) -> tuple[Segment, Header] | None:
    """Read a part of a WAV record; None where only the whole record can be checked."""
    if self.manifest.codec != "wav" or not hasattr(os, "pread"):
      return None
    count = self._ends[shard] - (self._ends[shard - 1] if shard else 0)
    read = partial(READERS.read_bytes, self._paths[shard], count, number)
    part = read_part(read, name, first, length)
    return part if part and part[1] == self._expected else None

  def place(self, record: SupportsIndex) -> RecordPlace:
    """Return where a record lies and the track of its segment; decode no audio.

    Raises:
      RecordError, IndexError: as in `read`.
    """
    shard, number = self._locate(record)
    return RecordPlace(self._paths[shard], number, self.read(record, length=0).track)

  def shard_ranges(self) -> list[tuple[int, int]]:
    """Return the first record of each shard, and how many it holds."""
    firsts = [0, *self._ends]
    return [(a, b - a) for a, b in itertools.pairwise(firsts)]

  def _locate(self, record: SupportsIndex) -> tuple[int, int]:
    """Return the shard and the number of the record in it."""
    index = record.__index__()
    if not 0 <= index < len(self):
      raise IndexError(f"record {index} of {len(self)}")
    shard = bisect.bisect_right(self._ends, index)
    return shard, index - (self._ends[shard - 1] if shard else 0)


def _check_shard(path: Path, records: int) -> None:
  """Check that a shard can be opened and holds as many records as stated."""
  again = "delete it and prepare the data again"
  if not path.is_file():
    raise UserError(f"{path}: the shard is missing; copy it or prepare the data again")
  try:
    reader = open_reader(path)
    found = reader.num_records()
    reader.close()
  except OpenFilesError as error:
    raise OpenFilesError(f"{path}: {error}") from error
  except (RuntimeError, ValueError, OSError) as error:
    raise UserError(
      f"{path}: the shard is truncated or damaged ({error}); {again}"
    ) from error
  if found != records:
    raise UserError(
      f"{path}: expected {records} records as in the manifest, found {found}; {again}"
    )
