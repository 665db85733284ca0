"""Records: segments of music as 16-bit FLAC or WAV files in bytes."""

import contextlib
import dataclasses
import io
import os
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import soundfile

from mixit_jax.audio.pcm import PCM_SCALE, to_float32
from mixit_jax.data.limits import raise_if_full
from mixit_jax.errors import UserError

Codec = Literal["flac", "wav"]

_START = "start="
_PCM, _EXTENSIBLE = 1, 0xFFFE  # formats in the header of a WAV file


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
  buffer = io.BytesIO()
  with soundfile.SoundFile(
    buffer,
    "w",
    samplerate=sample_rate,
    channels=pcm.shape[0],
    format=codec.upper(),
    subtype="PCM_16",
  ) as file:
    if segment.track:  # libsndfile refuses empty tags
      # File names that are not UTF-8 hold surrogates, which no tag can hold.
      file.title = segment.track.encode("utf-8", "backslashreplace").decode()
    file.comment = f"{_START}{float(segment.start)!r}"
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
  try:
    start = float(comment.removeprefix(_START))
  except ValueError:
    raise RecordError(
      f"{name}: expected the comment '{_START}<seconds>', found {comment!r}"
    ) from None
  return Segment(pcm, track, start + first / header.rate), header


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
  """Take samples from a WAV file without a copy of the rest.

  Its chunks are read here: libsndfile would take twice the time, most of it to copy
  the whole record.
  """
  found: dict[bytes, tuple[int, int]] = {}  # place and size of the chunks
  at = 12
  while at + 8 <= len(data):
    kind, size = struct.unpack_from("<4sI", data, at)
    if kind == b"LIST" and data[at + 8 : at + 12] == b"INFO":
      at += 12  # its entries follow as chunks
      continue
    found.setdefault(kind, (at + 8, size))
    at += 8 + size + size % 2
  if data[8:12] != b"WAVE" or b"fmt " not in found or b"data" not in found:
    raise ValueError("expected a WAV file with format and samples")
  form, channels, rate = struct.unpack_from("<HHI", data, found[b"fmt "][0])
  (bits,) = struct.unpack_from("<H", data, found[b"fmt "][0] + 14)
  if form not in (_PCM, _EXTENSIBLE) or bits != 16 or not channels:
    raise ValueError(f"expected 16-bit samples, found {bits} bits, format {form}")
  place, size = found[b"data"]
  header = Header(rate, channels, size // (2 * channels))
  count = header.samples - first if length is None else length
  there = max(0, min(count, (len(data) - place) // (2 * channels) - first))
  pcm = np.frombuffer(data, "<i2", there * channels, place + 2 * channels * first)
  texts = [
    data[p : p + n].split(b"\0")[0].decode("utf-8", "replace")
    for p, n in (found.get(kind, (0, 0)) for kind in (b"INAM", b"ICMT"))
  ]
  channel_first = np.ascontiguousarray(pcm.reshape(there, channels).T)
  return channel_first.astype(np.int16, copy=False), header, texts[0], texts[1]


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
