"""WAV records of which a part can be read and checked without the rest.

A record is an ordinary WAV file of 16-bit samples with title and comment. A chunk
`mxsm`, which other programs pass over, holds the CRC-32 of all bytes before it, the
frames of a block, and for each block of samples the sum of its 64-bit words.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np

_SUMS = b"mxsm"
_BLOCK = 8192  # frames: their bytes are whole 64-bit words
_WIDTH = 2  # bytes of a sample
_PCM, _EXTENSIBLE = 1, 0xFFFE  # formats in the header


class Layout(NamedTuple):
  """Where what lies in a WAV file.

  Attributes:
    rate: in Hz.
    channels: number of channels.
    frames: samples of each channel.
    title: of the file, "" where it has none.
    comment: the same.
    place: first byte of the samples.
    sums: sum of each block of `block` frames; None where there are none.
    block: frames of a block.
  """

  rate: int
  channels: int
  frames: int
  title: str
  comment: str
  place: int
  sums: np.ndarray | None
  block: int


def encode_wav(pcm: np.ndarray, rate: int, title: str, comment: str) -> bytes:
  """Return samples int16 [C, L] as the bytes of a WAV file."""
  channels = len(pcm)
  samples = np.ascontiguousarray(pcm.T, "<i2").tobytes()
  form = struct.pack(
    "<HHIIHH", _PCM, channels, rate, rate * channels * _WIDTH, channels * _WIDTH, 16
  )
  texts = ((b"INAM", title), (b"ICMT", comment))
  info = b"".join(_chunk(n, text.encode() + b"\0") for n, text in texts if text)
  sums = _block_sums(samples, _BLOCK * channels * _WIDTH)
  head = _chunk(b"fmt ", form) + _chunk(b"LIST", b"INFO" + info)
  size = 4 + len(head) + 8 + 8 + sums.nbytes + 8 + len(samples) + len(samples) % 2
  head = b"RIFF" + struct.pack("<I", size) + b"WAVE" + head
  check = struct.pack("<II", zlib.crc32(head), _BLOCK) + sums.astype("<u8").tobytes()
  return head + _chunk(_SUMS, check) + _chunk(b"data", samples)


def read_layout(data: bytes) -> Layout:
  """Read the header of a WAV file; `data` need not reach behind it.

  Raises:
    ValueError, struct.error: this is no such file, or its header is damaged or longer
      than `data`.
  """
  if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
    raise ValueError("expected a WAV file")
  form: tuple[int, ...] | None = None
  texts = {b"INAM": "", b"ICMT": ""}
  sums, block, at = None, 0, 12
  while True:
    kind, size = struct.unpack_from("<4sI", data, at)
    inside = at + 8
    if kind == b"data":
      break
    if kind == b"LIST" and data[inside : inside + 4] == b"INFO":
      at = inside + 4  # its entries follow as chunks
      continue
    if kind == b"fmt ":
      form = struct.unpack_from("<HHIIHH", data, inside)
    elif kind in texts:
      texts[kind] = data[inside : inside + size].split(b"\0")[0].decode()
    elif kind == _SUMS:
      crc, block = struct.unpack_from("<II", data, inside)
      if crc != zlib.crc32(data[:at]):
        raise ValueError("the header is damaged")
      sums = np.frombuffer(data, "<u8", size // 8 - 1, inside + 8)
    at = inside + size + size % 2
  if form is None or form[0] not in (_PCM, _EXTENSIBLE) or form[5] != 8 * _WIDTH:
    raise ValueError(f"expected 16-bit samples, found {form and form[5]} bits")
  channels, rate = form[1], form[2]
  frames = size // (_WIDTH * channels)
  title, comment = texts[b"INAM"], texts[b"ICMT"]
  return Layout(rate, channels, frames, title, comment, inside, sums, block)


def needed(layout: Layout, first: int, length: int) -> tuple[int, int]:
  """Return first byte and number of bytes of the blocks that hold some frames."""
  frame = layout.channels * _WIDTH
  begin = first // layout.block * layout.block
  end = -(-(first + length) // layout.block) * layout.block
  return layout.place + begin * frame, (min(end, layout.frames) - begin) * frame


def checked_part(
  layout: Layout, blocks: bytes, first: int, length: int
) -> np.ndarray | None:
  """Take frames from the bytes of their blocks; None where a checksum is wrong.

  Returns:
    samples, int16 [C, length].
  """
  block_bytes = layout.block * layout.channels * _WIDTH
  number = first // layout.block
  found = _block_sums(blocks, block_bytes)
  assert layout.sums is not None
  if not np.array_equal(found, layout.sums[number : number + len(found)]):
    return None
  return deinterleave(blocks, layout.channels, first - number * layout.block, length)


def deinterleave(
  data: bytes | memoryview, channels: int, first: int, length: int
) -> np.ndarray:
  """Return frames of interleaved samples as int16 [C, length], or what is there."""
  there = max(0, min(length, len(data) // (channels * _WIDTH) - first))
  pcm = np.frombuffer(data, "<i2", there * channels, channels * _WIDTH * first)
  return np.ascontiguousarray(pcm.reshape(there, channels).T).astype(
    np.int16, copy=False
  )


def _block_sums(samples: bytes, block_bytes: int) -> np.ndarray:
  """Sum the 64-bit words of each block, modulo 2^64; the last one is filled up."""
  if len(samples) % 8:
    samples += bytes(-len(samples) % 8)
  words = np.frombuffer(samples, "<u8")
  if not len(words):
    return np.zeros(0, np.uint64)
  return np.add.reduceat(words, np.arange(0, len(words), block_bytes // 8))


def _chunk(name: bytes, content: bytes) -> bytes:
  return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
