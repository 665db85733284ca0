"""Scan the frames of a FLAC file, and repair a wrong length in its header.

libsndfile stops at the length that the header of the file claims. It also overlooks a
change of the sample rate within a file, so that a part plays at the wrong speed. It
reports neither. Every frame states its own size and rate, so the frames are counted
here (RFC 9639, section 9.1).
"""

import mmap
import re
from typing import NamedTuple

_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_LONGEST_HEADER = 16
# Sample rates in Hz by their code; 0 points to the header of the file.
_RATES = (
  0,
  88_200,
  176_400,
  192_000,
  8_000,
  16_000,
  22_050,
  24_000,
  32_000,
  44_100,
  48_000,
  96_000,
)
# Codes of rates that follow in the frame header: their bytes and unit in Hz.
_STATED_RATES = {12: (1, 1000), 13: (2, 1), 14: (2, 10)}
# Codes of block sizes that follow in the frame header: their bytes.
_STATED_SIZES = {6: 1, 7: 2}
_TOTAL = 21  # byte after the "fLaC" of the file whose last 4 bits start the length


class _Frame(NamedTuple):
  """What the header of a frame says."""

  number: int  # of the frame, or of its first sample where block sizes vary
  next_number: int
  samples: int
  rate: int  # Hz, or 0
  channels: int


class Stream(NamedTuple):
  """What the frames of a FLAC file say together."""

  num_samples: int
  rates: set[int]  # Hz; frames that leave the rate to the file add none
  channels: set[int]


def scan(data: bytes | mmap.mmap) -> Stream:
  """Walk through the frames of a FLAC file.

  A frame counts if its header is valid and its number follows that of the previous
  frame, so that audio data is rarely mistaken for a header. Where it is, two frames
  have the same number, and the one that resembles the previous frame counts.

  Args:
    data: content of the file.

  Returns:
    length and formats of the stream.
  """
  frames: list[_Frame] = []
  expected = 0
  for match in _SYNC.finditer(data):
    header = data[match.start() : match.start() + _LONGEST_HEADER]
    frame = _parse(header.ljust(_LONGEST_HEADER, b"\0"))
    if frame is None:
      continue
    if frame.number == expected:
      frames.append(frame)
    elif frames and frame.number == frames[-1].number and not _alike(frames[-2:]):
      frames[-1] = frame
    else:
      continue
    expected = frame.next_number
  return Stream(
    num_samples=sum(frame.samples for frame in frames),
    rates={frame.rate for frame in frames} - {0},
    channels={frame.channels for frame in frames},
  )


def repair(data: bytes | mmap.mmap, stream: Stream) -> bytes:
  """Remove the length from the header of a FLAC file.

  Args:
    data: content of the file.
    stream: what `scan` found in it.

  Returns:
    content of the file, now of unknown length; decoders continue to its end.
  """
  del stream  # an open end is safer than a count
  total = data.find(b"fLaC") + _TOTAL
  return data[:total] + bytes([data[total] & 0xF0, 0, 0, 0, 0]) + data[total + 5 :]


def _alike(frames: list[_Frame]) -> bool:
  """Tell whether two frames have the same size and format."""
  return len(frames) == 2 and frames[0][2:] == frames[1][2:]


def _parse(header: bytes) -> _Frame | None:
  """Read the header of a frame, or return None if the bytes hold no valid one."""
  size_code, rate_code = divmod(header[2], 16)
  channel_code = header[3] >> 4
  if size_code == 0 or rate_code == 15 or channel_code > 10 or header[3] & 1:
    return None
  # The number is coded as in UTF-8: leading ones of its first byte count its bytes.
  number_bytes = 8 - (header[4] ^ 0xFF).bit_length()
  if number_bytes in (1, 8):
    return None
  end = 4 + max(1, number_bytes)
  number = header[4] & (0x7F >> number_bytes)
  for byte in header[5:end]:
    number = number << 6 | byte & 0x3F

  size_end = end + _STATED_SIZES.get(size_code, 0)
  rate_bytes, unit = _STATED_RATES.get(rate_code, (0, 0))
  rate_end = size_end + rate_bytes
  if _crc8(header[:rate_end]) != header[rate_end]:
    return None
  if size_code in _STATED_SIZES:
    samples = int.from_bytes(header[end:size_end]) + 1
  elif size_code >= 8:
    samples = 1 << size_code
  else:
    samples = 192 if size_code == 1 else 144 << size_code
  if rate_code in _STATED_RATES:
    rate = int.from_bytes(header[size_end:rate_end]) * unit
  else:
    rate = _RATES[rate_code]
  return _Frame(
    number=number,
    next_number=number + (samples if header[1] & 1 else 1),
    samples=samples,
    rate=rate,
    channels=channel_code + 1 if channel_code < 8 else 2,
  )


def _crc8(data: bytes) -> int:
  """Compute the checksum of a frame header: x^8 + x^2 + x + 1, from 0."""
  remainder = 0
  for byte in data:
    remainder ^= byte
    for _ in range(8):
      remainder = remainder << 1 ^ (0x107 if remainder & 0x80 else 0)
  return remainder
