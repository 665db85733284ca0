"""Decode any common audio file, or say in one line why it cannot be decoded.

Files are decoded in blocks, so that memory does not grow with their length.
soundfile decodes WAV, FLAC, MP3, Ogg and others. PyAV decodes what soundfile cannot
open (M4A, AAC, WMA), if the optional extra `formats` is installed. Headers are not
trusted: the length is what the decoder delivers, and the scanners check that nothing
is missing. docs/formats.md explains why soundfile comes first.
"""

import contextlib
import io
import mmap
import os
import stat
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import soundfile

from mixit_jax.audio.decoded import TAGS, Content, Decoding, check_formats
from mixit_jax.audio.faults import AudioError, DamagedAudioError, damaged, reason_of
from mixit_jax.audio.integrity import Integrity, examine
from mixit_jax.audio.pyav import open_with_av
from mixit_jax.audio.quiet import quiet

__all__ = [
  "LARGEST",
  "TAGS",
  "AudioError",
  "DamagedAudioError",
  "Decoding",
  "decode",
  "open_audio",
  "reason_of",
]

# A larger sample is no audio (whole numbers stored as floats reach 2e9), and its square
# would not be finite in a spectrogram.
LARGEST = 1e10

_BLOCK = 1 << 18  # values decoded at once
_GUARD = 8192  # samples before an error that are left out
_RATES = range(1_000, 1_000_000)  # Hz; others come from broken headers
_ID3V1_BYTES = 128  # size of a tag at the end of a file


class _Stream(soundfile.SoundFile):
  """A file that is read once, from its start to its end.

  soundfile seeks after every read. That fails in FLAC files whose headers are wrong
  or lack the number of samples, and is never needed here.
  """

  def seekable(self) -> bool:
    """Keep soundfile from seeking."""
    return False


def decode(source: Path | bytes, name: str = "") -> tuple[np.ndarray, int]:
  """Decode a file as it is, with its own rate and its own channels.

  Nothing is guessed or patched: a file with an error inside is refused. A truncated
  file yields what it holds, if its decoder accepts it (MP3, Ogg, WAV).

  Args:
    source: path of the file, or its content.
    name: how errors name the file; by default its path.

  Returns:
    audio of shape [C, L], float32 and finite, L > 0, and its sample rate in Hz.

  Raises:
    AudioError: the file is missing, not audio, damaged or empty, holds samples that
      are not finite or absurdly large, or changes its sample rate or its channels
      midway.
  """
  opened = open_audio(source, name)
  return _join(list(opened.blocks), opened.num_channels), opened.sample_rate


def open_audio(source: Path | bytes, name: str = "") -> Decoding:
  """Open a file to decode it block by block, in bounded memory.

  Args:
    source: path of the file, or its content.
    name: how errors name the file; by default its path.

  Raises:
    AudioError: as in `decode`; what only the audio itself shows, its blocks raise.
  """
  if isinstance(source, bytes):
    name = name or "audio in memory"
  else:
    name = name or str(source)
    _check_file(source, name)
  try:
    stream = _open(source)
    if stream.format == "FLAC" and (content := _without_id3v1(source)) is not None:
      source, stream = content, _open(content)
  except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
    opened = open_with_av(lambda: _mapped(source), name, error)
  else:
    opened = _examined(source, stream, name)
  if opened.sample_rate not in _RATES:
    raise AudioError(name, f"a sample rate of {opened.sample_rate} Hz is not plausible")
  return opened._replace(blocks=_plausible(opened, name))


def _check_file(path: Path, name: str) -> None:
  """Raise an AudioError unless a path leads to a file."""
  try:
    if stat.S_ISREG(path.stat().st_mode):
      return
  except FileNotFoundError:
    pass
  except (OSError, ValueError) as error:  # ValueError: a null byte in the name
    raise AudioError(name, f"cannot be read: {reason_of(error)}") from error
  raise AudioError(name, "expected an audio file, found none")


def _plausible(opened: Decoding, name: str) -> Iterator[np.ndarray]:
  """Yield blocks; raise an AudioError where there is none or samples are no audio."""
  found = 0
  for block in opened.blocks:
    peaks = np.abs(block).max(axis=0)
    if not peaks.max() <= LARGEST:
      first = int(np.argmin(peaks <= LARGEST))
      what = f"a sample of {peaks[first]:.0e}, but full scale is 1"
      if not np.isfinite(peaks[first]):
        what = "samples that are not finite"
      seconds = (found + first) / opened.sample_rate
      raise AudioError(name, f"holds {what}, at {seconds:.2f} s")
    found += block.shape[1]
    yield block
  if not found:
    raise AudioError(name, "holds no audio")


def _open(source: Path | bytes) -> _Stream:
  """Open a file by its path, where there is one: the suffix helps libsndfile."""
  if isinstance(source, bytes):
    return _Stream(io.BytesIO(source))
  # Names that are not UTF-8 must be passed as bytes, which soundfile does not do.
  return _Stream(os.fsencode(source) if os.name == "posix" else source)


def _without_id3v1(source: Path | bytes) -> bytes | None:
  """Return a file without a tag at its end, which libFLAC mistakes for a frame."""
  with _mapped(source) as content:
    tagged = content[-_ID3V1_BYTES:].startswith(b"TAG")
    return content[:-_ID3V1_BYTES] if tagged else None


def _examined(source: Path | bytes, stream: _Stream, name: str) -> Decoding:
  """Compare what a file says of its audio with what is there; see `integrity`.

  Raises:
    AudioError: the file changes its format midway.
  """
  rate, channels = stream.samplerate, stream.channels
  with _mapped(source) as content:
    found = examine(content, stream.format, rate, stream.frames)
    if found.chained:
      raise AudioError(name, "holds several streams in a row; split it first")
    check_formats({rate} | found.rates, {channels} | found.channels, name)
    if found.repair:
      # If the repaired file cannot be opened, the audio is found to be too short.
      with contextlib.suppress(soundfile.SoundFileError):
        stream = _open(found.repair())
  return Decoding(
    rate,
    channels,
    stream.copy_metadata(),
    _blocks(stream, found, name),
    found.announced,
    found.slack,
    found.cut,
    found.warning,
  )


def _blocks(
  stream: _Stream, expected: Integrity, name: str
) -> Generator[np.ndarray, None, None]:
  """Read all of an open file in blocks, whatever length its header claims."""
  frames = max(1, _BLOCK // stream.channels)
  rate, found = stream.samplerate, 0
  with stream:
    while True:
      buffer = np.full((frames, stream.channels), np.nan, np.float32)
      fault: Exception | None = None
      try:
        with quiet():
          block = stream.read(out=buffer)
      except (soundfile.SoundFileError, OSError, ValueError) as error:
        # What was decoded before lies in the buffer; of the last frame, who knows.
        decoded = np.isfinite(buffer).all(axis=1)
        block = buffer[: max(0, int(np.argmin(np.append(decoded, False))) - _GUARD)]
        fault = error
      if not len(block) and fault is None:
        break
      if found + len(block) > expected.sound:
        if expected.sound > found:
          yield block[: expected.sound - found].T
        raise damaged(name, expected.hole, expected.sound / rate)
      found += len(block)
      if len(block):
        yield block.T
      if fault:
        raise damaged(name, reason_of(fault), found / rate) from fault
    if found < expected.least:
      what = f"only {found} of at least {expected.least} samples can be decoded"
      raise damaged(name, what, found / rate)


@contextlib.contextmanager
def _mapped(source: Path | bytes) -> Iterator[Content]:
  """Yield all bytes of a file; those on disk are not copied to memory."""
  if isinstance(source, bytes):
    yield source
    return
  with (
    source.open("rb") as file,
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
  ):
    yield content


def _join(blocks: list[np.ndarray], num_channels: int) -> np.ndarray:
  """Join blocks [C, l] to audio [C, L]."""
  audio = np.empty((num_channels, sum(b.shape[1] for b in blocks)), np.float32)
  return np.concatenate(blocks, axis=1, out=audio) if blocks else audio
