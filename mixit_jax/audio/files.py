"""Audio files in and out: any rate, any common format, with clear errors.

`decoding` decodes the files.
"""

import errno
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import soundfile
import soxr

from mixit_jax.audio.decoding import AudioError, decode, reason_of
from mixit_jax.errors import UserError
from mixit_jax.files import replacing

AUDIO_SUFFIXES = frozenset(
  {
    # soundfile decodes these.
    ".wav",
    ".wave",
    ".w64",
    ".rf64",
    ".aif",
    ".aiff",
    ".aifc",
    ".caf",
    ".au",
    ".flac",
    ".mp3",
    ".ogg",
    ".oga",
    ".opus",
    # These need the extra `formats`.
    ".m4a",
    ".m4b",
    ".aac",
    ".wma",
    ".ape",
    ".wv",
    ".mka",
  }
)

__all__ = [
  "AUDIO_SUFFIXES",
  "AudioError",
  "decode",
  "find_audio",
  "read_audio",
  "resample",
  "write_audio",
]

_BLOCK = 1 << 16  # frames encoded at once
_WAV_BYTES = 0xFFFF_0000  # a WAV header cannot count more: RF64 can
_FORMATS = {"AIF": "AIFF", "AIFC": "AIFF", "WAVE": "WAV", "OGA": "OGG", "OPUS": "OGG"}
_UNCLIPPED = ("FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III")


def read_audio(
  path: Path, sample_rate: int | None = None, num_channels: int = 2
) -> np.ndarray:
  """Read a file at a given sample rate with a given number of channels.

  Args:
    path: file in any format that `decode` takes.
    sample_rate: rate in Hz to resample to; None keeps that of the file.
    num_channels: channels C wanted. A mono file gives C equal channels.

  Returns:
    audio of shape [C, L], float32 and finite, L > 0.

  Raises:
    AudioError: `decode` fails, or the file has neither one nor `num_channels` channels.
  """
  path = Path(path)
  audio, rate = decode(path)
  if len(audio) not in (1, num_channels):
    raise AudioError(
      path, f"has {len(audio)} channels, expected {num_channels}: convert it first"
    )
  if sample_rate is not None:
    audio = resample(audio, rate, sample_rate)
  return np.repeat(audio, num_channels, axis=0) if len(audio) == 1 else audio


def resample(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
  """Resample audio with the high-quality band-limited filter of soxr.

  Args:
    audio: audio of shape [C, L], float32.
    rate_in: its sample rate in Hz.
    rate_out: the sample rate wanted.

  Returns:
    audio of shape [C, ceil(L * rate_out / rate_in)]; the same array where both
    rates are equal. Nothing is rescaled.
  """
  if rate_in == rate_out:
    return audio
  # A product of floats, as in librosa: lengths stay those of prepared data.
  length = math.ceil(audio.shape[1] * (rate_out / rate_in))
  resampled = soxr.resample(audio.T, rate_in, rate_out, quality="HQ")[:length].T
  whole = np.zeros((len(audio), length), np.float32)
  whole[:, : resampled.shape[1]] = resampled  # soxr rounds: it can be one short
  return whole


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
    subtype: encoding as soundfile names it; by default FLOAT where the format has
      it, PCM_24 for FLAC, and what libsndfile prefers for lossy formats.

  Raises:
    AudioError: the audio is empty or not finite, or its format, rate or number of
      channels cannot be written.
  """
  path, audio = Path(path), np.asarray(audio)
  if audio.ndim != 2 or audio.size == 0:
    raise AudioError(path, f"expected audio [C, L], found the shape {audio.shape}")
  if not np.isfinite(audio).all():
    raise AudioError(path, "not written, the audio holds samples that are not finite")
  suffix = path.suffix[1:].upper()
  file_format = _FORMATS.get(suffix, suffix)
  if file_format not in soundfile.available_formats():
    raise AudioError(path, f"cannot write the format {path.suffix!r}, try .wav")
  subtype = subtype or ("OPUS" if suffix == "OPUS" else _best_subtype(file_format))
  sample_bytes = 8 if subtype == "DOUBLE" else 4
  if file_format == "WAV" and audio.size * sample_bytes > _WAV_BYTES:
    file_format = "RF64"
  if subtype not in _UNCLIPPED and (beyond := np.count_nonzero(np.abs(audio) > 1)):
    warnings.warn(
      f"{path}: {beyond} samples beyond full scale are clipped by {subtype};"
      " a WAV file with float samples would keep them",
      stacklevel=2,
    )
  try:
    with replacing(path) as temporary:
      _encode(temporary, audio, sample_rate, subtype, file_format)
  except (soundfile.SoundFileError, OSError, ValueError, AssertionError) as error:
    raise AudioError(
      path,
      f"cannot write {len(audio)} channels at {sample_rate} Hz as {file_format}"
      f" {subtype}: {reason_of(error)}",
    ) from error


def _encode(
  path: Path, audio: np.ndarray, sample_rate: int, subtype: str, file_format: str
) -> None:
  try:
    with soundfile.SoundFile(
      path, "w", sample_rate, len(audio), subtype, format=file_format
    ) as file:
      # In blocks: the Vorbis encoder of libsndfile overflows the stack otherwise.
      for start in range(0, audio.shape[1], _BLOCK):
        file.write(audio[:, start : start + _BLOCK].T.astype(np.float32, order="C"))
  except (soundfile.SoundFileError, AssertionError) as error:
    # libsndfile does not say why: check while the partial file still exists.
    if _is_full(path.parent, 8 * _BLOCK * len(audio)):
      raise OSError(errno.ENOSPC, "the disk is full") from error
    raise


def find_audio(folder: Path) -> list[Path]:
  """Find the audio files in a folder and its subfolders, by their suffixes.

  Hidden files, such as the `._song.mp3` of some archives, are left out.

  Args:
    folder: folder to search.

  Returns:
    paths in sorted order; at least one.

  Raises:
    UserError: the folder is missing or holds no audio file.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise UserError(f"{folder}: expected a folder of audio files, found none")
  found = sorted(
    path
    for path in folder.rglob("*")
    if path.suffix.lower() in AUDIO_SUFFIXES
    and not path.name.startswith(".")
    and path.is_file()
  )
  if not found:
    raise UserError(f"{folder}: holds no audio file (wav, flac, mp3, ogg, m4a, ...)")
  return found


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
