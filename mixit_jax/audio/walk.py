"""Find the files of a folder: every one is found or named with a reason, none vanishes.

Links to folders are followed once: a folder that is reached by several ways counts
under its own path if it lies in the tree, else under the first link to it in sorted
order.
Hidden files and folders, such as the `._song.mp3` of some archives, are left out.
"""

import os
import stat
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mixit_jax.audio.faults import reason_of


class Absence(NamedTuple):
  """Something in a folder that is not taken, and why."""

  path: Path
  reason: str


@dataclass
class Walk:
  """What a folder and its subfolders hold.

  Attributes:
    files: those with one of the suffixes asked for, in sorted order.
    absent: links, folders and files that cannot be followed or read, with reasons.
    repeated: further ways to folders that are counted already, such as loops.
    others: numbers of the remaining files by suffix, in lower case.
    hidden: number of hidden files and folders.
  """

  files: list[Path] = field(default_factory=list)
  absent: list[Absence] = field(default_factory=list)
  repeated: list[Absence] = field(default_factory=list)
  others: Counter[str] = field(default_factory=Counter)
  hidden: int = 0


def walk(folder: Path, suffixes: Collection[str]) -> Walk:
  """Walk through a folder.

  Args:
    folder: where to start.
    suffixes: of the files to find, in lower case.

  Raises:
    OSError: the folder itself cannot be read.
  """
  found = Walk()
  seen: dict[tuple[int, int], Path] = {}
  status = Path(folder).stat()
  seen[status.st_dev, status.st_ino] = Path(folder)
  pending, links = [Path(folder)], list[Path]()
  while pending or links:
    if pending:
      place = pending.pop()
    else:  # folders that lie here have been counted, so that links to them come last
      links.sort(reverse=True)
      place = links.pop()
      if not _is_new(place, seen, found):
        continue
    try:
      entries = sorted(os.scandir(place), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
      if place == Path(folder):
        raise
      found.absent.append(Absence(place, f"cannot be read: {reason_of(error)}"))
      continue
    for entry in entries:
      _sort(entry, suffixes, found, pending, links, seen)
  found.files.sort()
  found.absent.sort()
  return found


def _sort(
  entry: os.DirEntry[str],
  suffixes: Collection[str],
  found: Walk,
  pending: list[Path],
  links: list[Path],
  seen: dict[tuple[int, int], Path],
) -> None:
  """Put an entry of a folder where it belongs."""
  path = Path(entry.path)
  if entry.name.startswith("."):
    found.hidden += 1
    return
  try:
    if entry.is_dir(follow_symlinks=False):
      if _is_new(path, seen, found):
        pending.append(path)
    elif entry.is_symlink() and entry.is_dir():
      links.append(path)
    elif path.suffix.lower() not in suffixes:
      found.others[path.suffix.lower()] += 1
    elif stat.S_ISREG(entry.stat().st_mode):
      found.files.append(path)
    else:
      found.absent.append(Absence(path, "is not a file"))
  except FileNotFoundError:
    found.absent.append(Absence(path, "is a link that leads nowhere"))
  except OSError as error:
    found.absent.append(Absence(path, f"cannot be followed: {reason_of(error)}"))


def _is_new(folder: Path, seen: dict[tuple[int, int], Path], found: Walk) -> bool:
  """Tell whether a folder is met for the first time, and remember it."""
  try:
    status = Path(folder).stat()
  except OSError as error:
    found.absent.append(Absence(folder, f"cannot be followed: {reason_of(error)}"))
    return False
  known = seen.setdefault((status.st_dev, status.st_ino), folder)
  if known is not folder:
    found.repeated.append(Absence(folder, f"leads to {known}, which is counted"))
  return known is folder
