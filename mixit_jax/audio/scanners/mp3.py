"""Scan the frames of an MP3 stream, and repair a wrong length in its header.

libsndfile stops at the length that an MP3 file claims: the count in its first frame
(the Xing header), or else a guess from the size of the first frames. Both are wrong
in files that were joined, and the guess in files of variable bit rate. It also stops
where the sample rate or the number of channels changes. It reports neither, so the
frames are counted here (ISO/IEC 11172-3, section 2.4.2.3, and 13818-3).
"""

import mmap
from typing import NamedTuple

# Bit rates in kbit/s and sample rates in Hz by their codes, and the samples of a
# frame, for version 1 and for versions 2 and 2.5.
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {
  3: (44_100, 48_000, 32_000),
  2: (22_050, 24_000, 16_000),
  0: (11_025, 12_000, 8_000),
}
_TAGS = (b"Xing", b"Info", b"VBRI")
_ID3V1_BYTES = 128
_RUN = 4  # frames in a row before a hole: fewer may be garbage


class _Frame(NamedTuple):
  """What the header of a frame says."""

  size: int  # bytes
  samples: int
  rate: int  # Hz
  channels: int


class Stream(NamedTuple):
  """What the frames of an MP3 stream say together."""

  start: int  # first byte of the first frame with audio
  num_frames: int
  num_samples: int
  rates: set[int]  # Hz
  channels: set[int]
  announced: int | None = None  # frames, by the tag in the first frame
  sound: int | None = None  # frames before the first hole; None where there is none


def scan(data: bytes | mmap.mmap) -> Stream:
  """Walk through the frames of an MP3 stream (layer III).

  A frame counts if another one of the same sample rate follows immediately, so that
  garbage and pictures in tags are not mistaken for audio. The last one never counts.

  Args:
    data: content of the file.

  Returns:
    start, length and formats of the stream. A first frame that holds a tag instead
    of audio is left out.
  """
  starts: list[int] = []
  frames: list[_Frame] = []
  holes: list[int] = []  # frames before each interruption
  position, end = _after_id3(data, 0), -1
  while 0 <= position < len(data):
    frame = _parse(data, position)
    following = position + frame.size if frame else position
    follower = frame and _parse(data, following)
    if frame and follower and follower.rate == frame.rate:
      if frames and position != end:
        holes.append(len(frames))
      starts.append(position)
      frames.append(frame)
      position = end = following
    elif frame and (joined := _after_tags(data, following)) != following:
      position = end = joined  # the last frame is not counted
    else:
      position = data.find(b"\xff", position + 1)
  tagged, announced = False, None
  if frames:
    tagged, announced = _read_tag(data[starts[0] : starts[0] + frames[0].size])
  if tagged:
    del starts[0], frames[0]
  sound = next((hole for hole in holes if hole >= _RUN), None)
  return Stream(
    start=starts[0] if starts else len(data),
    num_frames=len(frames),
    num_samples=sum(frame.samples for frame in frames),
    rates={frame.rate for frame in frames},
    channels={frame.channels for frame in frames},
    announced=announced,
    sound=None if sound is None else sound - tagged,
  )


def _read_tag(first: bytes) -> tuple[bool, int | None]:
  """Tell whether a frame holds a tag, and how many frames that announces."""
  for name in _TAGS:
    place = first.find(name)
    if place < 0:
      continue
    if name == b"VBRI":
      return True, int.from_bytes(first[place + 14 : place + 18])
    counted = int.from_bytes(first[place + 4 : place + 8]) & 1
    return True, int.from_bytes(first[place + 8 : place + 12]) if counted else None
  return False, None


def _after_tags(data: bytes | mmap.mmap, start: int) -> int:
  """Find the end of the tags at `start`: files that were joined have them inside."""
  position, after = -1, start
  while position != after:
    position = after
    if data[position : position + 3] == b"TAG":
      after = position + _ID3V1_BYTES
    elif data[position : position + 8] == b"APETAGEX":
      after = (
        position + 32 + int.from_bytes(data[position + 12 : position + 16], "little")
      )
    else:
      after = _after_id3(data, position)
  return position


def repair(data: bytes | mmap.mmap, stream: Stream) -> bytes:
  """Make an MP3 file that starts with its number of frames, in a Xing header.

  Args:
    data: content of the file.
    stream: what `scan` found in it; at least one frame.

  Returns:
    content of a file with the same frames, without the tags before them.
  """
  header = bytearray(data[stream.start : stream.start + 4])
  header[1] |= 1  # no checksum
  header[2] = header[2] & 0x0C | 0xE0  # the highest bit rate, without padding
  frame = _parse(bytes(header), 0)
  assert frame is not None
  version_1, mono = frame.samples == 1152, frame.channels == 1
  side_info = (17 if mono else 32) if version_1 else (9 if mono else 17)
  tag = b"Xing" + (1).to_bytes(4) + (stream.num_frames + 2).to_bytes(4)
  content = bytes(header) + bytes(side_info) + tag
  return content.ljust(frame.size, b"\0") + data[stream.start :]


def _parse(data: bytes | mmap.mmap, position: int) -> _Frame | None:
  """Read the header of a frame, or return None if no valid one starts there."""
  header = data[position : position + 4]
  if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
    return None
  version, kbits_code, rate_code = (
    header[1] >> 3 & 3,
    header[2] >> 4,
    header[2] >> 2 & 3,
  )
  if version == 1 or kbits_code in (0, 15) or rate_code == 3:
    return None
  rate = _RATES[version][rate_code]
  kbits = (_KBITS_1 if version == 3 else _KBITS_2)[kbits_code]
  samples = 1152 if version == 3 else 576
  return _Frame(
    size=samples // 8 * 1000 * kbits // rate + (header[2] >> 1 & 1),
    samples=samples,
    rate=rate,
    channels=1 if header[3] >> 6 == 3 else 2,
  )


def _after_id3(data: bytes | mmap.mmap, start: int) -> int:
  """Find the end of the ID3v2 tag at `start`, whose size has 7 bits per byte."""
  header = data[start : start + 10]
  if header[:3] != b"ID3" or len(header) < 10:
    return start
  size = 0
  for byte in header[6:]:
    size = size << 7 | byte & 0x7F
  return start + 10 + size
