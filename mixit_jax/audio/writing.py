"""Audio files out: whole or not at all, block by block, the same bytes every time."""

import contextlib
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mixit_jax.audio.decoding import AudioError, reason_of
from mixit_jax.audio.stamps import erase_stamps
from mixit_jax.files import replacing

# Encodings, as soundfile names them, that hold values beyond full scale.
UNCLIPPED = ("FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III")

# libvorbis has no settings above this rate in Hz, and libsndfile crashes there.
FASTEST_VORBIS = 200_000

_BLOCK = 1 << 16  # frames encoded at once
_WAV_BYTES = 0xFFFF_0000  # a WAV header cannot count more: RF64 can
_FORMATS = {"AIF": "AIFF", "AIFC": "AIFF", "WAVE": "WAV", "OGA": "OGG", "OPUS": "OGG"}
_ERRORS = (soundfile.SoundFileError, OSError, ValueError, AssertionError)


class AudioWriter:
  """An audio file that is being written.

  Attributes:
    subtype: its encoding, as soundfile names it.
  """

  def __init__(self, path: Path, temporary: Path, file: soundfile.SoundFile):
    self._path, self._temporary, self._file = path, temporary, file
    self.subtype = file.subtype

  def write(self, audio: np.ndarray) -> None:
    """Append audio [C, l]; integer formats clip what is beyond full scale.

    Raises:
      AudioError: the audio is not finite, or cannot be written.
    """
    if not np.isfinite(audio).all():
      raise AudioError(self._path, "not written, it holds samples that are not finite")
    # In blocks: the Vorbis encoder of libsndfile overflows the stack otherwise.
    for start in range(0, audio.shape[1], _BLOCK):
      part = audio[:, start : start + _BLOCK].T.astype(np.float32, order="C")
      try:
        self._file.write(part)
      except _ERRORS as error:
        # libsndfile does not say why: check while the partial file still exists.
        full = _is_full(self._temporary.parent, 8 * part.size)
        reason = "the disk is full" if full else reason_of(error)
        raise AudioError(
          self._path,
          f"cannot write {self._file.channels} channels at"
          f" {self._file.samplerate} Hz as {self._file.format} {self._file.subtype}:"
          f" {reason}",
        ) from error


@contextlib.contextmanager
def writing(
  path: Path,
  sample_rate: int,
  num_channels: int,
  length: int,
  subtype: str | None = None,
  bitrate: int | None = None,
  tags: Mapping[str, str] | None = None,
) -> Iterator[AudioWriter]:
  """Write a file in the format of its suffix; it appears at the end, whole.

  The same audio gives the same bytes at any time.

  Args:
    path: file to write; missing folders are created.
    sample_rate: sample rate in Hz.
    num_channels: channels C.
    length: samples that will be written, for the choice of the container.
    subtype: encoding as soundfile names it; by default FLOAT where the format has
      it, PCM_24 for FLAC, and what libsndfile prefers for lossy formats.
    bitrate: of an MP3 file in kbit/s, constant; None for libsndfile's variable one.
    tags: title, artist and the like, under the names of `decoding.TAGS`; what the
      format does not know is left out.

  Yields:
    what takes the audio.

  Raises:
    AudioError: the format, the rate or the number of channels cannot be written, or
      the folder is not writable.
  """
  if path.is_dir():
    raise AudioError(path, "cannot be written, a folder has this name")
  suffix = path.suffix[1:].upper()
  file_format = _FORMATS.get(suffix, suffix)
  if file_format not in soundfile.available_formats():
    raise AudioError(path, f"cannot write the format {path.suffix!r}, try .wav")
  subtype = subtype or ("OPUS" if suffix == "OPUS" else _best_subtype(file_format))
  sample_bytes = 8 if subtype == "DOUBLE" else 4
  if subtype == "VORBIS" and sample_rate > FASTEST_VORBIS:
    raise AudioError(
      path,
      f"cannot write {sample_rate} Hz as Vorbis, which has {FASTEST_VORBIS} at most",
    )
  if file_format == "WAV" and num_channels * length * sample_bytes > _WAV_BYTES:
    file_format = "RF64"
  quality: dict[str, Any] = {}
  if bitrate is not None:
    try:
      level = compression_level(sample_rate, bitrate)
    except ValueError as error:
      raise AudioError(path, str(error)) from error
    quality = {"compression_level": level, "bitrate_mode": "CONSTANT"}
  with contextlib.ExitStack() as stack:
    try:
      temporary = stack.enter_context(replacing(path))
      file = soundfile.SoundFile(
        # Names that are not UTF-8 must be passed as bytes, which soundfile does not do.
        os.fsencode(temporary) if os.name == "posix" else temporary,
        "w",
        sample_rate,
        num_channels,
        subtype,
        format=file_format,
        **quality,
      )
      stack.callback(file.close)
    except _ERRORS as error:
      raise AudioError(
        path,
        f"cannot write {num_channels} channels at {sample_rate} Hz as {file_format}"
        f" {subtype}: {reason_of(error)}",
      ) from error
    for name, value in (tags or {}).items():
      with contextlib.suppress(soundfile.SoundFileError):  # not in this format
        setattr(file, name, value)
    yield AudioWriter(path, temporary, file)
    file.close()
    erase_stamps(temporary)


def write_audio(
  path: Path, audio: np.ndarray, sample_rate: int, subtype: str | None = None
) -> None:
  """Write audio to a file, atomically, in the format of the suffix.

  The audio is never rescaled. Formats with integer samples (FLAC, 16-bit WAV) cannot
  hold values beyond 1: these are clipped, with a warning that counts them. WAV, by
  default 32-bit float, holds everything.

  Args:
    path: file to write; missing folders are created.
    audio: audio of shape [C, L], finite.
    sample_rate: sample rate in Hz.
    subtype: encoding, see `writing`.

  Raises:
    AudioError: the audio is empty or not finite, or its format, rate or number of
      channels cannot be written.
  """
  path, audio = Path(path), np.asarray(audio)
  if audio.ndim != 2 or audio.size == 0:
    raise AudioError(path, f"expected audio [C, L], found the shape {audio.shape}")
  channels, length = audio.shape
  with writing(path, sample_rate, channels, length, subtype) as writer:
    writer.write(audio)
    subtype = writer.subtype
  if subtype not in UNCLIPPED and (beyond := np.count_nonzero(np.abs(audio) > 1)):
    warnings.warn(
      f"{path}: {beyond} samples beyond full scale are clipped by {subtype};"
      " a WAV file with float samples would keep them",
      stacklevel=2,
    )


def compression_level(sample_rate: int, bitrate: int) -> float:
  """Return the level at which libsndfile's MP3 encoder takes a constant bit rate.

  Args:
    sample_rate: in Hz; the bit rates of MP3 depend on it.
    bitrate: in kbit/s.

  Raises:
    ValueError: MP3 has no such bit rate at this sample rate.
  """
  known = mp3_bitrates(sample_rate)
  if bitrate not in known:
    listed = ", ".join(map(str, known))
    raise ValueError(
      f"MP3 has no {bitrate} kbit/s at {sample_rate} Hz, choose one of {listed}"
    )
  least, most = min(known), max(known)
  # The lowest rate stands at 1, which libsndfile refuses.
  return min((most - bitrate) / (most - least), 0.999)


def mp3_bitrates(sample_rate: int) -> tuple[int, ...]:
  """List the constant bit rates of MP3 in kbit/s (ISO/IEC 11172-3 and 13818-3)."""
  if sample_rate >= 32_000:
    return (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
  low = (8, 16, 24, 32, 40, 48, 56, 64)
  # libsndfile gives version 2.5, below 16 kHz, no more than 64 kbit/s.
  return low if sample_rate < 16_000 else (*low, 80, 96, 112, 128, 144, 160)


def _is_full(folder: Path, needed: int) -> bool:
  """Tell whether a folder has fewer free bytes than needed."""
  try:
    return shutil.disk_usage(folder).free < needed
  except OSError:  # the folder could not be created
    return False


def _best_subtype(file_format: str) -> str:
  """Choose the encoding of a format that loses least."""
  for subtype in ("FLOAT", "PCM_24"):
    if soundfile.check_format(file_format, subtype):
      return subtype
  return soundfile.default_subtype(file_format)
