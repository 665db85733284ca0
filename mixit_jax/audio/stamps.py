"""What encoders write that differs from one time to the next, made constant.

libsndfile puts the time of day into the PEAK chunk of WAV and AIFF files with float
samples, and a random serial number into every page of an Ogg file.
"""

import functools
import mmap
import struct
from pathlib import Path

_OGG_HEADER = 27  # bytes of a page before its table of segments
_SERIAL = 14  # byte of a page where its serial number starts, 4 bytes before ...
_CHECKSUM = 22  # ... its number, and its checksum
_POLYNOMIAL = 0x104C11DB7  # of the checksum of Ogg pages (RFC 3533)


def erase_stamps(file: Path) -> None:
  """Make the bytes of a file that libsndfile wrote depend on its audio alone."""
  with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as content:
    _erase(content)


def without_stamps(content: bytes) -> bytes:
  """Return the bytes of a file of libsndfile, made to depend on its audio alone."""
  changed = bytearray(content)
  _erase(changed)
  return bytes(changed)


def _erase(content: mmap.mmap | bytearray) -> None:
  kind = content[:4]
  if kind in (b"RIFF", b"RF64"):
    _erase_peak_time(content, "<")
  elif kind == b"FORM":
    _erase_peak_time(content, ">")
  elif kind == b"OggS":
    _erase_serial_numbers(content)


def _erase_peak_time(content: mmap.mmap | bytearray, order: str) -> None:
  """Set the time in the PEAK chunk to 0: it follows the version, before the audio."""
  position = 12
  while position + 8 <= len(content):
    name, size = struct.unpack_from(f"{order}4sI", content, position)
    if name == b"PEAK":
      content[position + 12 : position + 16] = bytes(4)
    if name in (b"PEAK", b"data", b"SSND"):
      return
    position += 8 + size + size % 2


def _erase_serial_numbers(content: mmap.mmap | bytearray) -> None:
  """Set the serial number of every page to 0, and its checksum to the new value."""
  position = 0
  while content[position : position + 4] == b"OggS":
    segments = content[position + _OGG_HEADER - 1]
    table = position + _OGG_HEADER
    end = table + segments + sum(content[table : table + segments])
    serial = slice(position + _SERIAL, position + _SERIAL + 4)
    # The checksum is linear: it changes by that of the difference, which is the old
    # number at its place and zeros everywhere else.
    change = _checksum(bytes(content[serial]), end - serial.stop)
    content[serial] = bytes(4)
    place = position + _CHECKSUM
    (old,) = struct.unpack_from("<I", content, place)
    struct.pack_into("<I", content, place, old ^ change)
    position = end


def _checksum(data: bytes, zeros: int) -> int:
  """Compute the checksum of 4 bytes with zeros after them."""
  return _product(int.from_bytes(data), _power_of_x(8 * zeros + 32))


@functools.lru_cache(maxsize=4096)
def _power_of_x(exponent: int) -> int:
  """Return x to a power, modulo the polynomial of the checksum."""
  if exponent == 0:
    return 1
  half = _power_of_x(exponent // 2)
  square = _product(half, half)
  return _product(square, 2) if exponent % 2 else square


def _product(a: int, b: int) -> int:
  """Multiply polynomials over two elements, modulo that of the checksum."""
  result = 0
  while b:
    if b & 1:
      result ^= a
    a <<= 1
    if a >> 32:
      a ^= _POLYNOMIAL
    b >>= 1
  return result
