"""Records: segments of music as 16-bit FLAC or WAV files in bytes."""

import contextlib
import dataclasses
import io
import os
import struct
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import soundfile

from mixit_jax.audio.pcm import PCM_SCALE, to_float32
from mixit_jax.data.limits import raise_if_full
from mixit_jax.data.wav import (
  checked_part,
  deinterleave,
  encode_wav,
  needed,
  read_layout,
)
from mixit_jax.errors import UserError

Codec = Literal["flac", "wav"]

_START = "start="
_HEAD = 1 << 14  # bytes that hold the header of a WAV record


class RecordError(UserError):
  """A record that cannot be read or made; the message says which."""


@dataclasses.dataclass(frozen=True)
class Segment:
  """A stretch of music.

  Attributes:
    audio: samples [C, L], float32 or, as records hold them, int16.
    track: the track that it was cut from, such as its relative file name.
    start: where in the track it starts, in seconds.
  """

  audio: np.ndarray
  track: str
  start: float


class Header(NamedTuple):
  """What a record says of its audio: rate in Hz, channels, samples."""

  rate: int
  channels: int
  samples: int


def encode_segment(segment: Segment, sample_rate: int, codec: Codec = "flac") -> bytes:
  """Return the segment as a 16-bit FLAC or WAV file.

  Samples of 16-bit recordings survive unchanged. A segment that 16 bits cannot hold
  (decoded MP3s reach peaks of 1.6) is scaled down to a peak of 1, never clipped.

  Raises:
    RecordError: the segment holds no samples, or samples that are not finite.
  """
  audio = np.asarray(to_float32(segment.audio), np.float64)
  where = f"segment of {segment.track!r} at {segment.start:g} s"
  if audio.ndim != 2 or audio.size == 0:
    raise RecordError(f"{where}: expected samples [C, L], found shape {audio.shape}")
  if not np.isfinite(audio).all():
    raise RecordError(f"{where}: holds samples that are not finite")
  top = (PCM_SCALE - 1) / PCM_SCALE
  if audio.max() > top or audio.min() < -1.0:
    audio = audio * (top / np.abs(audio).max())
  pcm = np.round(audio * PCM_SCALE).astype(np.int16)
  # File names that are not UTF-8 hold surrogates, which no tag can hold.
  title = segment.track.encode("utf-8", "backslashreplace").decode()
  comment = f"{_START}{float(segment.start)!r}"
  if codec == "wav":
    return encode_wav(pcm, sample_rate, title, comment)
  buffer = io.BytesIO()
  with soundfile.SoundFile(
    buffer,
    "w",
    samplerate=sample_rate,
    channels=pcm.shape[0],
    format="FLAC",
    subtype="PCM_16",
  ) as file:
    if title:  # libsndfile refuses empty tags
      file.title = title
    file.comment = comment
    file.write(pcm.T)
  return buffer.getvalue()


def decode_segment(data: bytes, name: str = "record") -> Segment:
  """Return the segment that `encode_segment` encoded as `data`, int16.

  Raises:
    RecordError: the bytes are not such a file; the message starts with `name`.
  """
  return decode_part(data, name)[0]


def decode_part(
  data: bytes, name: str, first: int = 0, length: int | None = None
) -> tuple[Segment, Header]:
  """Decode `length` samples from `first` on, by default all of them.

  Raises:
    RecordError: the bytes are not a record; the message starts with `name`.
  """
  decode = _decode_wav if data[:4] == b"RIFF" else _decode_flac
  try:
    pcm, header, track, comment = decode(data, first, length)
  except (RuntimeError, ValueError, OSError, struct.error) as error:
    raise_if_full(error)
    raise RecordError(f"{name}: cannot be decoded ({error})") from error
  expected = header.samples - first if length is None else length
  if pcm.shape[1] != expected:
    raise RecordError(f"{name}: {pcm.shape[1]} of {expected} samples can be decoded")
  return _segment(pcm, header, track, comment, first, name), header


def read_part(
  read: Callable[[int, int], bytes], name: str, first: int, length: int
) -> tuple[Segment, Header] | None:
  """Read samples of a WAV record without the rest of it.

  Args:
    read: returns bytes of the record, from a byte on, so many or what is there.
    name: of the record.
    first: first sample.
    length: number of samples.

  Returns:
    the samples; None where they cannot be checked, or are not what was written: then
    the record must be read as a whole.
  """
  try:
    layout = read_layout(read(0, _HEAD))
    if layout.sums is None or first + length > layout.frames:
      return None
    pcm = checked_part(layout, read(*needed(layout, first, length)), first, length)
  except (ValueError, OSError, ArithmeticError, IndexError, struct.error):
    return None
  if pcm is None or pcm.shape[1] != length:
    return None
  header = Header(layout.rate, layout.channels, layout.frames)
  return _segment(pcm, header, layout.title, layout.comment, first, name), header


def _segment(
  pcm: np.ndarray, header: Header, track: str, comment: str, first: int, name: str
) -> Segment:
  try:
    start = float(comment.removeprefix(_START))
  except ValueError:
    raise RecordError(
      f"{name}: expected the comment '{_START}<seconds>', found {comment!r}"
    ) from None
  return Segment(pcm, track, start + first / header.rate)


_Decoded = tuple[np.ndarray, Header, str, str]


def _decode_flac(data: bytes, first: int, length: int | None) -> _Decoded:
  with _opened(data) as file:
    if file.subtype != "PCM_16":
      raise ValueError(f"expected 16-bit samples, found {file.subtype}")
    header = Header(file.samplerate, file.channels, file.frames)
    file.seek(first)
    count = header.samples - first if length is None else length
    pcm = file.read(count, dtype="int16", always_2d=True)
    return np.ascontiguousarray(pcm.T), header, file.title, file.comment


def _decode_wav(data: bytes, first: int, length: int | None) -> _Decoded:
  layout = read_layout(data)
  header = Header(layout.rate, layout.channels, layout.frames)
  count = header.samples - first if length is None else length
  pcm = deinterleave(memoryview(data)[layout.place :], layout.channels, first, count)
  return pcm, header, layout.title, layout.comment


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[soundfile.SoundFile]:
  """Open a file in memory for reading."""
  if not hasattr(os, "memfd_create"):  # only Linux has it
    with soundfile.SoundFile(io.BytesIO(data)) as file:
      yield file
    return
  # libsndfile reads a file of the system by itself, but a stream through callbacks
  # that wait for the interpreter's lock.
  with os.fdopen(os.memfd_create("record"), "w+b") as content:
    content.write(data)
    content.seek(0)
    with soundfile.SoundFile(content.fileno(), closefd=False) as file:
      yield file
