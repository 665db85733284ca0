"""Open shards, few at a time: a set may have more shards than a process may open."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from mixit_jax.data.limits import most_readers, raise_if_full
from mixit_jax.data.record_bytes import RecordBytes

# A read fetches one record: reading ahead or a large buffer would fetch others.
_OPTIONS = "readahead_buffer_size:0"
_BUFFER = 1 << 15  # bytes


class _Shard:
  """A shard, open from its first read on, and the number of threads that read it."""

  def __init__(self, path: Path):
    self._path = path
    self._reader: Any = None
    self._file: int | None = None
    self._bytes: RecordBytes | None = None
    self._opening = threading.Lock()
    self.users = 0
    self.evicted = False

  def reader(self) -> Any:
    with self._opening:  # of this shard alone: others are read meanwhile
      if self._reader is None:
        self._reader = open_reader(self._path)
      return self._reader

  def record_bytes(self) -> RecordBytes:
    with self._opening:
      if self._bytes is None:
        if self._file is None:
          self._file = os.open(self._path, os.O_RDONLY)
        self._bytes = RecordBytes(self._file)
      return self._bytes

  def close_if_done(self) -> None:
    if not self.evicted or self.users:
      return
    if self._reader is not None:
      self._reader.close()
    if self._file is not None:
      os.close(self._file)


class Readers:
  """Shards that are open, the most recently used ones; thread-safe."""

  def __init__(self, most: int | None = None):
    """Open nothing yet.

    Args:
      most: shards that stay open; None takes what the limit of the system allows.
    """
    self._most = most  # the limit is looked up at the first read
    self._shards: OrderedDict[Path, _Shard] = OrderedDict()
    self._lock = threading.Lock()

  def read(self, path: Path, number: int) -> bytes:
    """Read a record of a shard; it is checked as a whole.

    Raises:
      RuntimeError, ValueError, OSError: shard or record is missing or damaged.
      OpenFilesError: too many files are open.
    """
    with self._using(path) as shard:
      return shard.reader().read([number])[0]

  def read_bytes(
    self, path: Path, count: int, number: int, first: int, size: int
  ) -> bytes:
    """Read some bytes of a record, fewer at its end; nothing is checked.

    Args:
      path: of the shard.
      count: records that it should hold.
      number: of the record.
      first: first byte.
      size: number of bytes.

    Raises:
      ValueError, OSError, struct.error: the shard is another kind of file.
      OpenFilesError: too many files are open.
    """
    with self._using(path) as shard:
      try:
        found = shard.record_bytes()
      except OSError as error:
        raise_if_full(error)
        raise
      if found.count != count:
        raise ValueError(f"expected {count} records, found {found.count}")
      return found.read(number, first, size)

  @contextmanager
  def _using(self, path: Path) -> Iterator[_Shard]:
    with self._lock:
      if self._most is None:
        self._most = most_readers()
      if path not in self._shards:
        self._shards[path] = _Shard(path)
      shard = self._shards[path]
      shard.users += 1
      self._shards.move_to_end(path)
      while len(self._shards) > self._most:
        _, oldest = self._shards.popitem(last=False)
        oldest.evicted = True
        oldest.close_if_done()
    try:
      yield shard
    finally:
      with self._lock:
        shard.users -= 1
        shard.close_if_done()


def open_reader(path: Path) -> Any:
  """Open a shard.

  Raises:
    RuntimeError, ValueError, OSError: it is missing or damaged.
    OpenFilesError: too many files are open.
  """
  try:
    return ArrayRecordReader(
      str(path), options=_OPTIONS, file_reader_buffer_size=_BUFFER
    )
  except (RuntimeError, ValueError, OSError) as error:
    raise_if_full(error)
    raise


# All sources of a process share them.
READERS = Readers()
