"""Which track is for training, validation and test."""

from collections.abc import Callable, Mapping, Sequence

from data_prep.tracks import digest

SPLITS = ("train", "valid", "test")

# Mixtures of mixtures need two tracks; in sets smaller than this, one is enough.
_TRACKS_FOR_TWO = 8


def split_by_hash(
  tracks: Sequence[str],
  valid_share: float,
  test_share: float = 0.0,
  group: Callable[[str], str] = str,
) -> dict[str, str]:
  """Split any music by a hash of the paths, the same way on every machine.

  A hash is a number from 0 to 1: below the first share a track is for validation, in
  the next one for test. So tracks stay where they are when others come. Each share
  above 0 gets at least one group of tracks, or two of eight or more, those of the
  lowest hashes, as long as training keeps one.

  Args:
    tracks: paths relative to the folder of the music.
    valid_share: share for validation.
    test_share: share for test.
    group: name of the group of a track, whose hash counts; groups are never divided.

  Returns:
    the split of every track.
  """
  groups = {group(track) for track in tracks}
  ranked = sorted(groups, key=digest)
  least = 2 if len(groups) >= _TRACKS_FOR_TWO else 1
  chosen: dict[str, str] = {}
  end = 0.0
  for split, share in (("valid", valid_share), ("test", test_share)):
    if share:
      end += share
      below = sum(_position(name) < end for name in ranked) - len(chosen)
      members = ranked[len(chosen) : -1][: max(below, least)]
      chosen |= dict.fromkeys(members, split)
  return {track: chosen.get(group(track), "train") for track in tracks}


def keep_groups_together(
  splits: Mapping[str, str], group: Callable[[str], str]
) -> dict[str, str]:
  """Move tracks so that no group is in two splits.

  A group that is partly for training is for training as a whole, so that nothing is
  validated or tested on artists or albums that were heard; else validation counts.

  Args:
    splits: split of every track.
    group: name of the group of a track; those without one stay where they are.
  """
  chosen: dict[str, str] = {}
  for track, split in splits.items():
    name = group(track)
    chosen[name] = min(split, chosen.get(name, split), key=SPLITS.index)
  chosen.pop("", None)
  return {track: chosen.get(group(track), split) for track, split in splits.items()}


def _position(name: str) -> float:
  """Return the hash of a name as a number in [0, 1)."""
  return int.from_bytes(digest(name)[:8]) / 2**64
