"""The sample rates that the frames of a FLAC file state.

libsndfile reads a FLAC file whose sample rate changes on the way as if it did not,
which plays a part of it at a wrong speed. Every frame states its own rate, so the
frame headers are read here (RFC 9639, section 9.1).
"""

import re
from typing import NamedTuple

_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_LONGEST_HEADER = 16
# Rates in Hz by their code; 0 points to the header of the file.
# fmt: off
_RATES = (
  0, 88_200, 176_400, 192_000, 8_000, 16_000,
  22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
)
# fmt: on
# Codes of rates that follow in the frame header: their bytes and unit in Hz.
_STATED_RATES = {12: (1, 1000), 13: (2, 1), 14: (2, 10)}
# Codes of block sizes that follow in the frame header: their bytes.
_STATED_SIZES = {6: 1, 7: 2}


class _Frame(NamedTuple):
  """What the header of a frame says."""

  number: int  # of the frame, or of its first sample where block sizes vary
  next_number: int
  rate: int  # Hz, or 0


def frame_rates(data: bytes) -> set[int]:
  """Collects the sample rates that the frames of a FLAC file state.

  A frame counts where its header is valid and its number follows that of the frame
  before, so that audio which looks like a header is not taken for one.

  Args:
    data: Content of the file.

  Returns:
    Rates in Hz. Frames that leave the rate to the header of the file add none.
  """
  rates = set()
  expected = 0
  for match in _SYNC.finditer(data):
    frame = _parse(data[match.start() : match.start() + _LONGEST_HEADER])
    if frame and frame.number == expected:
      expected = frame.next_number
      rates.add(frame.rate)
  return rates - {0}


def _parse(header: bytes) -> _Frame | None:
  """Reads the header of a frame, if these bytes start with a valid one."""
  if len(header) < _LONGEST_HEADER:  # no frame is so short
    return None
  size_code, rate_code = divmod(header[2], 16)
  # The number is coded as in UTF-8: leading ones of its first byte count its bytes.
  number_bytes = 8 - (header[4] ^ 0xFF).bit_length()
  if size_code == 0 or rate_code == 15 or header[3] & 1 or number_bytes in (1, 8):
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
    block_size = int.from_bytes(header[end:size_end]) + 1
  elif size_code >= 8:
    block_size = 1 << size_code
  else:
    block_size = 192 if size_code == 1 else 144 << size_code
  rate = int.from_bytes(header[size_end:rate_end]) * unit
  return _Frame(
    number=number,
    next_number=number + (block_size if header[1] & 1 else 1),
    rate=rate or (0 if rate_code in _STATED_RATES else _RATES[rate_code]),
  )


def _crc8(data: bytes) -> int:
  """Checksum of frame headers: the polynomial x^8 + x^2 + x + 1, from 0."""
  remainder = 0
  for byte in data:
    remainder ^= byte
    for _ in range(8):
      remainder = remainder << 1 ^ (0x107 if remainder & 0x80 else 0)
  return remainder
