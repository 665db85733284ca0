"""Whole songs with their stems: one folder per song, one file per stem."""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mixit_jax.audio.files import AUDIO_SUFFIXES, read_audio
from mixit_jax.errors import UserError
from mixit_jax.stems import MIXTURE, STEMS, in_order

# Encoders pad by up to a few thousand samples; a larger difference means another
# recording.
MAX_DIFFERENCE_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Song:
  """A song and its stems.

  Attributes:
    name: name of its folder.
    references: the stems, float32 [N, C, L].
    mixture: the song, float32 [C, L].
  """

  name: str
  references: np.ndarray
  mixture: np.ndarray


def find_songs(folder: Path, stems: Sequence[str] = STEMS) -> list[Path]:
  """Return the song folders in a folder, in order, or the folder if it is a song.

  Raises:
    UserError: the folder is missing or holds no song, or a song lacks a stem or has
      two files for one.
  """
  songs = song_folders(folder, stems)
  for song in songs:
    files = stem_files(song, stems)
    missing = [stem for stem in stems if stem not in files]
    if missing:
      raise UserError(
        f"{song}: lacks a file for {', '.join(missing)}; add it (silence, if the song"
        " has no such stem) or move the song away"
      )
  return songs


def usual_stems(folder: Path) -> tuple[str, ...]:
  """Return the stems that most songs of a folder have: the names of their files.

  Raises:
    UserError: the folder holds no song.
  """
  folder = Path(folder)
  inside = [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
  places = sorted(p for p in inside if not p.name.startswith("."))
  found = [stems for place in places if (stems := _names(place) - {MIXTURE})]
  if not found and folder.is_dir():
    found = [_names(folder) - {MIXTURE}]  # the folder of a song
  if not any(found):
    raise UserError(f"{folder}: holds no song; expected folders with a file per stem")
  [(usual, _)] = Counter(found).most_common(1)
  return in_order(usual)


def song_folders(folder: Path, stems: Sequence[str] = STEMS) -> list[Path]:
  """Return the folders in a folder that hold a stem, or the folder if it does.

  A song folder holds a file for every stem, such as `bass.wav`, in any audio format.
  Folders that hold no stem at all are skipped; whether a song is complete shows when it
  is read.

  Raises:
    UserError: the folder is missing or holds no song.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise UserError(f"{folder}: not found; give a folder of song folders")
  inside = [place for place in folder.iterdir() if place.is_dir()]
  # A hidden folder is one that a preparation has not finished.
  places = [folder, *sorted(p for p in inside if not p.name.startswith("."))]
  songs = [place for place in places if _holds_stem(place, stems)]
  if not songs:
    raise UserError(
      f"{folder}: holds no song; expected song folders with the files"
      f" {', '.join(f'{stem}.wav' for stem in stems)} (or another audio format)"
    )
  return songs


def _holds_stem(folder: Path, stems: Sequence[str]) -> bool:
  """Tell whether a folder is that of a song; one that cannot be read may be."""
  try:
    return bool(stem_files(folder, stems))
  except (UserError, OSError):
    return True


def read_song(
  folder: Path,
  stems: Sequence[str] = STEMS,
  sample_rate: int = 44100,
  num_channels: int = 2,
) -> Song:
  """Read a song folder.

  The mixture is the file `mixture` if there is one, else the sum of the stems. Files
  whose lengths differ by no more than 0.1 s, as encoders leave them, are cut to the
  shortest.

  Raises:
    UserError: a stem is missing, or lengths differ by more than 0.1 s.
    AudioError: a file cannot be read.
  """
  folder = Path(folder)
  files = stem_files(folder, [*stems, MIXTURE])
  if missing := [stem for stem in stems if stem not in files]:
    raise UserError(f"{folder}: lacks a file for {', '.join(missing)}")
  audio = {
    name: read_audio(path, sample_rate, num_channels) for name, path in files.items()
  }
  lengths = {files[name].name: samples.shape[1] for name, samples in audio.items()}
  check_lengths(folder, lengths, sample_rate)
  length = min(lengths.values())
  references = np.stack([audio[stem][:, :length] for stem in stems])
  if MIXTURE in audio:
    mixture = np.ascontiguousarray(audio[MIXTURE][:, :length])
  else:
    mixture = references.sum(axis=0)
  return Song(folder.name, references, mixture)


def song_chunks(
  song: Song, length: int, hop: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yield the chunks of a song, all of the same length.

  Only whole chunks are cut, except from a song that is shorter than one: it yields
  one chunk, padded with zeros at the end.

  Args:
    song: the song.
    length: samples of a chunk.
    hop: samples from one chunk to the next.

  Yields:
    references float32 [N, C, length] and mixture float32 [C, length].
  """
  references, mixture = song.references, song.mixture
  if (missing := length - mixture.shape[1]) > 0:
    references = np.pad(references, ((0, 0), (0, 0), (0, missing)))
    mixture = np.pad(mixture, ((0, 0), (0, missing)))
  for start in range(0, mixture.shape[1] - length + 1, hop):
    stop = start + length
    yield references[..., start:stop], mixture[:, start:stop]


def check_lengths(folder: Path, lengths: Mapping[str, int], sample_rate: int) -> None:
  """Raise a UserError where lengths differ by more than encoders leave, 0.1 s.

  Args:
    folder: of the song.
    lengths: samples of each file, by its name.
    sample_rate: in Hz.
  """
  shortest = min(lengths, key=lengths.__getitem__)
  longest = max(lengths, key=lengths.__getitem__)
  if lengths[longest] - lengths[shortest] > MAX_DIFFERENCE_SECONDS * sample_rate:
    raise UserError(
      f"{folder}: expected files of equal length, found {longest} of"
      f" {lengths[longest] / sample_rate:.2f} s and {shortest} of"
      f" {lengths[shortest] / sample_rate:.2f} s; cut or pad them"
    )


def _plain(name: str) -> str:
  """Return a name in the one form in which names are compared."""
  return unicodedata.normalize("NFC", name).lower()


def _names(folder: Path) -> frozenset[str]:
  """Return the names of the audio files in a folder, in lower case."""
  return frozenset(
    _plain(path.stem)
    for path in folder.iterdir()
    if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
  )


def stem_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
  """Return the audio files of a folder that have one of the names, by name.

  Raises:
    UserError: two files have the same name.
  """
  by_lower = {_plain(name): name for name in names}
  found: dict[str, Path] = {}
  for path in sorted(folder.iterdir()):
    name = by_lower.get(_plain(path.stem))
    if name is None or path.suffix.lower() not in AUDIO_SUFFIXES:
      continue
    if name in found:
      raise UserError(
        f"{folder}: has both {found[name].name} and {path.name}; keep one of them"
      )
    found[name] = path
  return found
