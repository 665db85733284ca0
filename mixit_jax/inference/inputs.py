"""Which files are separated, and the folder of the results of each.

Below `--out`, a recording has a folder of the name of its file, below the subfolders of
the folder that was given. Where inputs would share one, all keep their places below the
deepest folder that holds them: `CD1/01.wav CD2/01.wav` go to `CD1/01` and `CD2/01`. No
two recordings share a folder, also where names differ only by case.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from mixit_jax.audio.decoding import reason_of
from mixit_jax.audio.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, find_audio
from mixit_jax.errors import UserError

STANDARD_INPUT = "-"


class Item(NamedTuple):
  """A recording to separate.

  Attributes:
    path: of the file, or "-" for standard input.
    folder: of its results.
  """

  path: Path
  folder: Path

  @property
  def name(self) -> str:
    """How messages name it."""
    return "standard input" if str(self.path) == STANDARD_INPUT else str(self.path)


def find_inputs(inputs: Sequence[Path], out: Path) -> tuple[list[Item], list[str]]:
  """Find the recordings among files and folders.

  Hidden files are left out of folders, and so is what is below `out`: a second run does
  not separate the results of the first.

  Args:
    inputs: files, folders or "-" for standard input.
    out: folder of all results.

  Returns:
    the recordings, and what is wrong with inputs that give none.
  """
  files: dict[str, Path] = {}
  anchors: dict[str, str] = {}  # by file: the folder that was given
  problems: list[str] = []
  for place in inputs:
    if str(place) == STANDARD_INPUT:
      files.setdefault(STANDARD_INPUT, place)
      continue
    try:
      found = _below(place, out, problems) if place.is_dir() else [place]
    except UserError as error:
      problems.append(str(error))
      continue
    except OSError as error:
      problems.append(f"{place}: cannot be read: {reason_of(error)}")
      continue
    anchor = _absolute(place if place.is_dir() else place.parent)
    for file in found:
      files.setdefault(_absolute(file), file)
      anchors.setdefault(_absolute(file), anchor)
  places = [_place(path, anchors.get(path)) for path in files]
  if len(set(anchors.values())) > 1 and len({*map(_key, places)}) < len(places):
    root = os.path.commonpath(anchors.values())
    places = [_place(path, root) for path in files]
  folders = result_folders(places)
  items = zip(files.values(), folders, strict=True)
  return [Item(file, out / folder) for file, folder in items], problems


def result_folders(places: Sequence[PurePath]) -> list[PurePath]:
  """Name the folders of results: all different, also without regard to case.

  Args:
    places: relative paths of the recordings.

  Returns:
    the same paths without suffix, or with it where two would be the same.
  """
  plain = [_without_suffix(place) for place in places]
  counts = Counter(map(_key, plain))
  chosen, taken = [], set()
  for place, folder in zip(places, plain, strict=True):
    name = folder if counts[_key(folder)] == 1 else place
    unique, number = name, 1
    while _key(unique) in taken:
      number += 1
      unique = name.with_name(f"{name.name} ({number})")
    taken.add(_key(unique))
    chosen.append(unique)
  return chosen


def _place(path: str, anchor: str | None) -> PurePath:
  """Return a recording's place below a folder."""
  if path == STANDARD_INPUT:
    return PurePath("stdin")
  return PurePath(os.path.relpath(path, anchor))


def _below(folder: Path, out: Path, problems: list[str]) -> list[Path]:
  """Return the recordings of a folder that are not results."""
  suffixes = AUDIO_SUFFIXES
  if importlib.util.find_spec("av"):
    suffixes |= VIDEO_SUFFIXES
  target, source = out.resolve(), folder.resolve()
  if target == source:
    raise UserError(
      f"{folder}: is also --out, so that its recordings could not be told from results;"
      " name another --out"
    )

  walked = find_audio(folder, suffixes)
  problems += [f"{absence.path}: {absence.reason}" for absence in walked.absent]
  found = walked.files
  if target.is_relative_to(source):
    found = [file for file in found if not file.resolve().is_relative_to(target)]
  return found


def _absolute(place: Path) -> str:
  """Return an absolute path without `..`; links stay."""
  return os.path.normpath(place.absolute())


def _without_suffix(place: PurePath) -> PurePath:
  """Remove the suffix; a name such as `...wav` would become `..` and keeps it."""
  stem = place.stem.rstrip(". ")
  return place.with_name(stem) if stem else place


def _key(place: PurePath) -> str:
  """Return what two names share that some file systems take for the same."""
  return unicodedata.normalize("NFC", str(place)).casefold()


def spool_standard_input(folder: Path) -> Path:
  """Copy standard input to a file: decoders need to go back in it.

  Args:
    folder: where to put the file; the caller removes it.
  """
  with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
    shutil.copyfileobj(sys.stdin.buffer, file)
  return Path(file.name)
