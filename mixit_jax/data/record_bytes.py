"""Some bytes of a record, without reading the whole record.

ArrayRecord files are Riegeli files [1], and those of `records.write_shard` hold each
record uncompressed in a chunk of its own. A header of 24 bytes lies at every multiple
of 64 KiB; without these, chunks follow each other. A chunk begins with a header of 40
bytes: three 64-bit numbers (hash, size and hash of what follows), type, number of
records, and decoded size.

ArrayRecord checks a record as a whole. What is read here must be checked otherwise.

[1] https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md
"""

import os
import struct

_BLOCK, _BLOCK_HEADER = 1 << 16, 24
_PAYLOAD = _BLOCK - _BLOCK_HEADER
_CHUNK = struct.Struct("<QQQBBHIQ")  # type, then 56 bits of the number of records
_RECORDS = ord("r")
# Compression, and sizes as numbers of up to ten bytes each.
_LONGEST_PREFIX = 21


class RecordBytes:
  """The records of a shard that is open.

  Attributes:
    count: number of records; the index of an ArrayRecord file comes last and counts as
      one, or as none.
  """

  def __init__(self, descriptor: int):
    """Find the records.

    Args:
      descriptor: of the open file; the caller closes it.

    Raises:
      ValueError, struct.error, OSError: the file is no such file.
    """
    self._file = descriptor
    self._places: list[tuple[int, int]] = []
    size = os.fstat(descriptor).st_size
    end = size // _BLOCK * _PAYLOAD + max(0, size % _BLOCK - _BLOCK_HEADER)
    at = 0
    while at + _CHUNK.size <= end:
      head = self._read(at, _CHUNK.size + _LONGEST_PREFIX)
      _, held, _, kind, low, middle, high, _ = _CHUNK.unpack_from(head)
      if kind == _RECORDS and (low, middle, high) == (1, 0, 0):
        self._places.append(_inside(head, at, held))
      at += _CHUNK.size + held
    self.count = len(self._places)

  def size(self, number: int) -> int:
    """Return the bytes of a record."""
    return self._places[number][1]

  def read(self, number: int, first: int, size: int) -> bytes:
    """Read bytes of a record from byte `first` on, fewer at its end."""
    place, whole = self._places[number]
    return self._read(place + first, max(0, min(size, whole - first)))

  def _read(self, at: int, size: int) -> bytes:
    """Read bytes of the file as it is without the headers of blocks."""
    if size <= 0:
      return b""
    last = at + size - 1
    block, end = at // _PAYLOAD, last // _PAYLOAD
    begin = block * _BLOCK + _BLOCK_HEADER + at % _PAYLOAD
    stop = end * _BLOCK + _BLOCK_HEADER + last % _PAYLOAD + 1
    raw = os.pread(self._file, stop - begin, begin)
    if block == end:
      return raw
    view = memoryview(raw)
    borders = [(n * _BLOCK - begin) for n in range(block + 1, end + 1)]
    starts = [0, *(border + _BLOCK_HEADER for border in borders)]
    return b"".join(
      view[a:b] for a, b in zip(starts, [*borders, len(raw)], strict=True)
    )


def _inside(head: bytes, at: int, held: int) -> tuple[int, int]:
  """Return place and size of the record in a chunk, which has no compression."""
  if head[_CHUNK.size] != 0:
    raise ValueError("the records are compressed")
  length, place = _number(head, _CHUNK.size + 1)
  size, behind = _number(head, place)
  if behind - place != length or behind - _CHUNK.size + size != held:
    raise ValueError("a chunk holds something else than one record")
  return at + behind, size


def _number(data: bytes, place: int) -> tuple[int, int]:
  """Read a number in groups of seven bits; also return where it ends."""
  value = shift = 0
  while True:
    byte = data[place]
    place += 1
    value |= (byte & 0x7F) << shift
    shift += 7
    if byte < 0x80:
      return value, place
