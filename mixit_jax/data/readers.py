"""Open shards, few at a time: a set may have more shards than a process may open."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from mixit_jax.data.limits import most_readers, raise_if_full

# A read fetches one record: reading ahead or a large buffer would fetch others.
_OPTIONS = "readahead_buffer_size:0"
_BUFFER = 1 << 15  # bytes


class _Shard:
  """A shard, open from its first read on, and the number of threads that read it."""

  def __init__(self, path: Path):
    self._path = path
    self._reader: Any = None
    self._opening = threading.Lock()
    self.users = 0
    self.evicted = False

  def reader(self) -> Any:
    with self._opening:  # of this shard alone: others are read meanwhile
      if self._reader is None:
        self._reader = open_reader(self._path)
      return self._reader

  def close_if_done(self) -> None:
    if self.evicted and not self.users and self._reader is not None:
      self._reader.close()


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
    """Read a record of a shard.

    Raises:
      RuntimeError, ValueError, OSError: shard or record is missing or damaged.
      OpenFilesError: too many files are open.
    """
    shard = self._take(path)
    try:
      return shard.reader().read([number])[0]
    finally:
      with self._lock:
        shard.users -= 1
        shard.close_if_done()

  def _take(self, path: Path) -> _Shard:
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
      return shard


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
