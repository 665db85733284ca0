"""Audio files in and out: any rate, any common format, with clear errors.

`decoding` decodes the files, `writing` writes them.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from mixit_jax.audio.decoding import AudioError, decode
from mixit_jax.audio.faults import reason_of
from mixit_jax.audio.resampling import resample
from mixit_jax.audio.walk import Walk, walk
from mixit_jax.audio.writing import write_audio
from mixit_jax.errors import UserError

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
# Films, whose sound needs the extra `formats`.
VIDEO_SUFFIXES = frozenset(
  {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".mpg", ".mpeg"}
)

__all__ = [
  "AUDIO_SUFFIXES",
  "VIDEO_SUFFIXES",
  "AudioError",
  "decode",
  "find_audio",
  "read_audio",
  "resample",
  "write_audio",
]


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


def find_audio(folder: Path, suffixes: Collection[str] = AUDIO_SUFFIXES) -> Walk:
  """Find the audio files in a folder and its subfolders, by their suffixes.

  Args:
    folder: folder to search.
    suffixes: of the files to find, in lower case.

  Returns:
    the files and what is absent, see `walk`; at least one of either.

  Raises:
    UserError: the folder is missing, cannot be read or holds no audio file.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise UserError(f"{folder}: expected a folder of audio files, found none")
  try:
    found = walk(folder, suffixes)
  except OSError as error:
    raise UserError(f"{folder}: cannot be read: {reason_of(error)}") from error
  if not found.files and not found.absent:
    raise UserError(f"{folder}: holds no audio file (wav, flac, mp3, ogg, m4a, ...)")
  return found
