"""Which files of a folder are prepared, and for which split: nothing vanishes."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from data_prep.fma_metadata import FmaTrack, read_tracks
from data_prep.shards import printable
from data_prep.splits import SPLITS, keep_groups_together, split_by_hash
from data_prep.tracks import Track
from mixit_jax.audio.files import find_audio
from mixit_jax.data.manifest import SkippedFile
from mixit_jax.errors import UserError

GroupBy = Literal["track", "folder", "album", "artist"]


@dataclass
class Collection:
  """The files to prepare.

  Attributes:
    tracks: by split.
    found: number of audio files in the folder.
    skipped: files that are left out or absent, with reasons.
    left_out: numbers of those by kind, and of those that were not asked for.
    licenses: by track, where the metadata knows them.
  """

  tracks: dict[str, list[Track]] = field(default_factory=dict)
  found: int = 0
  skipped: list[SkippedFile] = field(default_factory=list)
  left_out: Counter[str] = field(default_factory=Counter)
  licenses: dict[str, str] = field(default_factory=dict)

  def leave_out(self, file: str, kind: str, reason: str) -> None:
    """Note a file that is not prepared."""
    self.skipped.append({"file": printable(file), "reason": printable(reason)})
    self.left_out[kind] += 1


def collect_any(
  audio: Path, valid_share: float, test_share: float, group_by: GroupBy
) -> Collection:
  """Collect all music of a folder; the split follows from a hash of the paths.

  Raises:
    UserError: the folder is missing or holds no audio file.
  """
  collection, files = _walked(audio)
  # Without metadata, folders stand for albums and artists.
  group = str if group_by == "track" else _folder
  splits = split_by_hash(list(files), valid_share, test_share, group)
  return _filled(collection, files, splits)


def _folder(file: str) -> str:
  return str(PurePosixPath(file).parent)


def collect_fma(
  audio: Path, metadata: Path, subset: str, licenses: frozenset[str], group_by: GroupBy
) -> Collection:
  """Collect tracks of FMA; files are named after their track numbers.

  Args:
    audio: folder of the files.
    metadata: folder fma_metadata.
    subset: subset to take.
    licenses: to take, as `fma_metadata.LICENSES` names them; empty for all.
    group_by: what must not be in two splits.

  Raises:
    UserError: the metadata cannot be read, or knows none of the files.
  """
  collection, files = _walked(audio)
  table = read_tracks(metadata)
  splits: dict[str, str] = {}
  present: set[int] = set()
  groups: dict[str, str] = {}
  for file in files:
    name = PurePosixPath(file).stem
    number = int(name) if name.isdecimal() else -1
    known = table.get(number)
    if known is None:
      collection.leave_out(file, "not in tracks.csv", "is not in tracks.csv")
      continue
    if number in present:
      reason = "another file has the number of its track"
      collection.leave_out(file, "second file of a track", reason)
      continue
    present.add(number)
    if not known.is_in(subset):
      collection.left_out["other subset"] += 1
    elif licenses and known.license not in licenses:
      collection.left_out["other license"] += 1
    else:
      splits[file] = known.split
      collection.licenses[file] = known.license
      groups[file] = _group(file, known, group_by)
  wanted = (n for n, track in table.items() if track.is_in(subset))
  for number in wanted:
    if number not in present and (not licenses or table[number].license in licenses):
      name = f"{number // 1000:03d}/{number:06d}"
      reason = "is in tracks.csv, but not in the folder"
      collection.leave_out(name, "not in the folder", reason)
  if not splits:
    named = f" with license {', '.join(sorted(licenses))}" if licenses else ""
    raise UserError(
      f"{audio}: none of its {len(files)} audio files is a track of the subset"
      f" {subset!r}{named} in {metadata}; expected names such as 000/000002.mp3"
    )
  if group_by != "track":
    splits = keep_groups_together(splits, groups.__getitem__)
  return _filled(collection, files, splits)


def _group(file: str, known: FmaTrack, group_by: GroupBy) -> str:
  if group_by == "folder":
    return str(PurePosixPath(file).parent)
  return {"artist": known.artist, "album": known.album}.get(group_by, "")


def _walked(audio: Path) -> tuple[Collection, dict[str, Track]]:
  """Find all files of a folder, and note what is absent."""
  walked = find_audio(audio)
  collection, files = Collection(), {}
  for path in walked.files:
    name = path.relative_to(audio).as_posix()
    try:
      status = os.stat(path)  # noqa: PTH116 (a Path would be slower)
    except OSError as error:
      collection.leave_out(name, "unreadable", f"cannot be read: {error.strerror}")
      continue
    files[name] = Track(name, status.st_size, status.st_mtime_ns)
  for path, reason in walked.absent:
    collection.leave_out(path.relative_to(audio).as_posix(), "unreadable", reason)
  for path, reason in walked.repeated:
    name = path.relative_to(audio).as_posix()
    collection.leave_out(name, "second way to a folder", reason)
  collection.found = len(files)
  return collection, files


def _filled(
  collection: Collection, files: dict[str, Track], splits: dict[str, str]
) -> Collection:
  for split in SPLITS:
    members = [files[file] for file, chosen in splits.items() if chosen == split]
    if members:
      collection.tracks[split] = members
  return collection
