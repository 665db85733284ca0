"""Scan the chunks of a WAV or AIFF file, and find samples that are shifted by a byte.

libsndfile reads what there is, without a word, where a header announces more samples
than the file holds, or fewer.
"""

import mmap
from typing import Literal, NamedTuple

import numpy as np

# Sizes that programs write which do not know the length yet.
_OPEN_ENDED = (0, 0x7FFFFFFF, 0xFFFFFFFF)
_NEARLY = 0x100  # some subtract their headers from them
_PCM, _EXTENSIBLE = 1, 0xFFFE
_AIFF_INTEGERS = (b"", b"NONE", b"twos")
_AIFF_FLOATS = (b"fl32", b"FL32", b"fl64", b"FL64")
_PROBE, _PROBES = 1 << 15, 8  # bytes of a probe of the samples, and number of probes
# Neighbors of white noise differ by sqrt(2) of its level; those of music by far less.
_ROUGH, _SMOOTH, _LOUD = 0.6, 0.35, 0.2


class Stream(NamedTuple):
  """What the header of the file says of its samples.

  Attributes:
    announced: samples of each channel; None where the length is left open.
    held: samples for which there are bytes, from the start of the samples to their end
      or that of the file.
    beyond: bytes after the announced samples that belong to nothing.
    shifted: whether the samples seem to start at another byte than they do.
  """

  announced: int | None
  held: int
  beyond: int
  shifted: bool


def scan(data: bytes | mmap.mmap) -> Stream | None:
  """Read the chunks of a file; None where it is not WAV (RIFF, RF64) or AIFF."""
  kind = data[8:12]
  if data[:4] in (b"RIFF", b"RF64") and kind == b"WAVE":
    return _scan(data, "little", b"fmt ", b"data", 0)
  if data[:4] == b"FORM" and kind in (b"AIFF", b"AIFC"):
    return _scan(data, "big", b"COMM", b"SSND", 8)  # offset and block size come first
  return None


def _scan(
  data: bytes | mmap.mmap,
  order: Literal["little", "big"],
  format_name: bytes,
  data_name: bytes,
  skip: int,
) -> Stream | None:
  position, frame, integers, long = 12, 0, 0, None
  while position + 8 <= len(data):
    name = data[position : position + 4]
    size = int.from_bytes(data[position + 4 : position + 8], order)
    body = position + 8
    if name == b"ds64":
      long = int.from_bytes(data[body + 8 : body + 16], "little")
    elif name == format_name:
      frame, integers = _format(data[body : body + size], order)
    elif name == data_name:
      if frame == 0:
        return None
      start = body + skip
      if long is not None and size == 0xFFFFFFFF:
        size = long
      held = len(data) - start
      if any(0 <= known - size < _NEARLY for known in _OPEN_ENDED):
        announced = None
      else:
        announced = (size - skip) // frame
        held = min(held, size - skip)
      beyond = _beyond(data, body + size) if announced is not None else 0
      shifted = bool(integers) and _is_shifted(
        data, start, held, frame, integers, order == "little"
      )
      return Stream(announced, max(0, held) // frame, beyond, shifted)
    position = body + size + (size & 1)
  return None


def _format(body: bytes, order: str) -> tuple[int, int]:
  """Return the bytes of a sample of all channels, and of one if it is an integer."""
  if order == "big":
    channels, bits = int.from_bytes(body[:2]), int.from_bytes(body[6:8])
    coding, width = body[18:22], (bits + 7) // 8
    if coding not in _AIFF_INTEGERS + _AIFF_FLOATS:
      return 0, 0
    return channels * width, width if coding in _AIFF_INTEGERS else 0
  code = int.from_bytes(body[:2], "little")
  frame = int.from_bytes(body[12:14], "little")
  bits = int.from_bytes(body[14:16], "little")
  if code == _EXTENSIBLE:
    code = int.from_bytes(body[24:26], "little")
  if code not in (_PCM, 3):  # blocks of compressed samples hold many
    return 0, 0
  return frame, bits // 8 if code == _PCM else 0


def _beyond(data: bytes | mmap.mmap, end: int) -> int:
  """Count the bytes from `end` on where they are no chunks."""
  position = end + (end & 1)
  while position + 8 <= len(data):
    name = data[position : position + 4]
    size = int.from_bytes(data[position + 4 : position + 8], "little")
    if not all(32 <= byte < 127 for byte in name):
      return len(data) - end
    position += 8 + size + (size & 1)
  return 0


def _is_shifted(
  data: bytes | mmap.mmap, start: int, size: int, frame: int, width: int, little: bool
) -> bool:
  """Tell whether samples are noise at full scale that music explains at another byte.

  The lower byte of a sample is nearly random. Where it is taken for the higher one,
  everything becomes white noise at full scale; the right offset makes it smooth.
  """
  if width not in (2, 3, 4) or frame < width:
    return False
  step = max(size // _PROBES // frame * frame, frame)
  rows = max(_PROBE // frame, 2)
  probes = []
  for first in range(start, start + size, step):
    probe = data[first : min(first + (rows + 1) * frame, start + size)]
    if len(probe) >= (rows + 1) * frame:
      probes.append(np.frombuffer(probe, np.uint8)[: (rows + 1) * frame])
  if not probes:
    return False
  found = [_roughness(np.stack(probes), frame, width, o, little) for o in range(width)]
  rough, level = found[0]
  return (
    level > _LOUD and rough > _ROUGH and min(r for r, _ in found[1:]) < _SMOOTH * rough
  )


def _roughness(
  probes: np.ndarray, frame: int, width: int, offset: int, little: bool
) -> tuple[float, float]:
  """Read the first channel [probes, bytes] from a byte on: roughness and level.

  Roughness is the level of the differences of neighbors relative to that of noise.
  """
  rows = probes.shape[1] // frame - 1
  values = probes[:, offset : offset + rows * frame].reshape(len(probes), rows, frame)
  high, low = (width - 1, width - 2) if little else (0, 1)
  samples = values[..., high].astype(np.int8) * 256.0 + values[..., low]
  level = np.sqrt(np.square(samples).mean())
  step = np.sqrt(np.square(np.diff(samples, axis=1)).mean())
  return float(step / (np.sqrt(2) * level + 1e-9)), float(level / 32768)
