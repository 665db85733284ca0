"""Scan the pages of an Ogg file: lost pages, a missing end, several streams in a row.

libsndfile splices what lies before and after lost pages, and of streams that follow one
another it decodes only the first. It reports neither. Every page states its number, its
position in the stream and a checksum (RFC 3533, section 6).
"""

import mmap
import zlib
from typing import NamedTuple

_HEADER = 27  # bytes before the table of segments
_FIRST, _LAST = 2, 4  # flags of the first and the last page of a stream
_NOWHERE = -1  # position of a page on which no packet ends
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Stream(NamedTuple):
  """What the pages of an Ogg file say together.

  Attributes:
    chained: whether a stream starts after another one has begun to deliver. Streams
      that run side by side all start at the start of the file.
    sound: position before the first lost page, in samples of the codec; None where no
      page is lost.
    ended: whether every stream has its last page.
  """

  chained: bool
  sound: int | None
  ended: bool


class _Page(NamedTuple):
  flags: int
  position: int
  stream: int
  number: int
  end: int  # byte after the page


def scan(data: bytes | mmap.mmap) -> Stream:
  """Walk through the pages of an Ogg file; those with a wrong checksum are lost.

  Args:
    data: content of the file.

  Returns:
    what the pages say.
  """
  chained = delivering = False
  sound: int | None = None
  latest: dict[int, _Page] = {}
  positions: dict[int, int] = {}
  start = data.find(b"OggS")
  while start >= 0:
    page = _parse(data, start)
    if page is None:
      start = data.find(b"OggS", start + 1)
      continue
    first = bool(page.flags & _FIRST)
    chained |= first and delivering
    delivering |= not first
    before = latest.get(page.stream)
    if before and page.number != before.number + 1 and sound is None:
      sound = positions.get(page.stream, 0)
    latest[page.stream] = page
    if page.position != _NOWHERE:
      positions[page.stream] = page.position
    start = data.find(b"OggS", page.end)
  ended = all(page.flags & _LAST for page in latest.values())
  return Stream(chained, sound, ended)


def opus_delay(data: bytes | mmap.mmap) -> int | None:
  """Return the samples at 48 kHz that Opus drops at the start; None for other codecs.

  Source: RFC 7845, section 5.1.
  """
  start = data.find(b"OpusHead", 0, 1 << 16)
  return None if start < 0 else int.from_bytes(data[start + 10 : start + 12], "little")


def _parse(data: bytes | mmap.mmap, start: int) -> _Page | None:
  """Read a page; None where none starts, or where it is not what was written."""
  header = data[start : start + _HEADER]
  if len(header) < _HEADER or header[4] != 0:
    return None
  sizes = data[start + _HEADER : start + _HEADER + header[26]]
  end = start + _HEADER + len(sizes) + sum(sizes)
  page = data[start:end]
  stated = int.from_bytes(header[22:26], "little")
  if len(sizes) != header[26] or len(page) < end - start or _checksum(page) != stated:
    return None
  return _Page(
    flags=header[5],
    position=int.from_bytes(header[6:14], "little", signed=True),
    stream=int.from_bytes(header[14:18], "little"),
    number=int.from_bytes(header[18:22], "little"),
    end=end,
  )


def _checksum(page: bytes) -> int:
  """Compute the checksum of a page: x^32 + x^26 + ..., from 0, its own field as zero.

  It is that of zlib with the bits of bytes and result reversed, without inversions.
  """
  blank = page[:22] + bytes(4) + page[26:]
  reflected = zlib.crc32(blank.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
  return int(f"{reflected:032b}"[::-1], 2)
