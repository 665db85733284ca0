"""Which track is for training, validation and test."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import PurePath

from data_prep.fma_metadata import FmaTrack

Splits = dict[str, list[str]]

# Mixtures of mixtures need two tracks; in sets smaller than this, one is enough.
_TRACKS_FOR_TWO = 8


def split_by_hash(
  tracks: Sequence[str], valid_share: float, test_share: float = 0.0
) -> Splits:
  """Split any music by a hash of the paths, the same way on every machine.

  In the order of their hashes, the first tracks are for validation, the next ones for
  test. Each share above 0 gets at least one track, or two in a set of eight or more, as
  long as training keeps one.

  Args:
    tracks: paths relative to the folder of the music.
    valid_share: share of the tracks for validation, rounded to whole tracks.
    test_share: share of the tracks for test.

  Returns:
    tracks by split, each in the given order; splits without a track are left out.
  """
  ranked = sorted(tracks, key=_hash)
  least = 2 if len(tracks) >= _TRACKS_FOR_TWO else 1
  chosen: dict[str, str] = {}
  for split, share in (("valid", valid_share), ("test", test_share)):
    if share:
      count = max(round(share * len(tracks)), least)
      chosen |= dict.fromkeys(ranked[len(chosen) : -1][:count], split)
  splits: Splits = {}
  for split in ("train", "valid", "test"):
    members = [track for track in tracks if chosen.get(track, "train") == split]
    if members:
      splits[split] = members
  return splits


def _hash(track: str) -> bytes:
  """Return a hash of the path alone."""
  return hashlib.sha256(os.fsencode(track)).digest()


def split_by_metadata(
  tracks: Sequence[str], metadata: dict[int, FmaTrack], subset: str
) -> tuple[Splits, list[str]]:
  """Split FMA as its metadata says; files are named after their track numbers.

  Args:
    tracks: paths relative to the folder of the music.
    metadata: what is known of the tracks.
    subset: subset to take.

  Returns:
    tracks of the subset by split, and the files that the metadata does not know.
  """
  splits: Splits = {}
  unknown = []
  for track in tracks:
    number = PurePath(track).stem
    known = metadata.get(int(number)) if number.isdecimal() else None
    if known is None:
      unknown.append(track)
    elif known.is_in(subset):
      splits.setdefault(known.split, []).append(track)
  return {s: splits[s] for s in ("train", "valid", "test") if s in splits}, unknown
