"""Which shard each track of a collection belongs to.

This follows from its name and from the number of tracks alone, so that a folder that
has grown or was repaired ends with the same shards, bit for bit, as one that is
prepared at once. Numbers of shards are powers of two: when a collection outgrows them,
each shard becomes two, and records are copied.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.cutting import Rules
from data_prep.shards import ShardPlace
from data_prep.tracks import Track, digest

# A collection is cut into this many shards, or into more if these would be too full.
_FEWEST_SHARDS = 16
FULL_SHARD = 100


@dataclass(frozen=True)
class Plan:
  """What a collection shall become.

  Attributes:
    out: folder of the result.
    source: name of the source.
    audio: folder of the tracks.
    rules: which tracks are used.
    shards: tracks of each shard.
  """

  out: Path
  source: str
  audio: Path
  rules: Rules
  shards: Mapping[ShardPlace, tuple[Track, ...]]


def deal(
  out: Path, source: str, split: str, tracks: Sequence[Track], per_shard: int | None
) -> dict[ShardPlace, tuple[Track, ...]]:
  """Deal the tracks of a split out to shards; those that get none are left out.

  Args:
    out: folder of the result.
    source: name of the source.
    split: of the tracks.
    tracks: in any order.
    per_shard: tracks that a shard holds at most, on average; None chooses.
  """
  least = -(-len(tracks) // (per_shard or FULL_SHARD))
  if per_shard is None:
    least = max(least, min(_FEWEST_SHARDS, len(tracks)))
  count = 1 << max(least - 1, 0).bit_length()
  members: dict[int, list[Track]] = {}
  for track in sorted(tracks, key=lambda track: os.fsencode(track.file)):
    # The last bytes: the first ones decide on the split.
    number = int.from_bytes(digest(track.file)[-8:]) % count
    members.setdefault(number, []).append(track)
  return {
    ShardPlace(out, source, split, number, count): tuple(members[number])
    for number in sorted(members)
  }
