"""The report beside each shard of unlabeled music: what became of its tracks.

`train-00003-of-00016.json` is written when the shard is complete. From the reports a
later run learns which tracks are done, and where their records lie.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from data_prep.shards import ShardPlace
from data_prep.tracks import TrackReport
from mixit_jax.errors import UserError
from mixit_jax.files import read_json, write_json

_NAME = re.compile(r"(train|valid|test)-(\d{5,})-of-(\d{5,})\.json")


@dataclasses.dataclass(frozen=True)
class ShardReport:
  """What became of the tracks of a shard.

  Attributes:
    records: segments in the shard; where there are none, it has no file.
    size: bytes of the shard.
    tracks: in the order of their records.
  """

  records: int
  size: int
  tracks: list[TrackReport]

  def save(self, place: ShardPlace) -> None:
    """Write the report; from now on the shard is complete."""
    tracks = [track.as_json() for track in self.tracks]
    write_json(
      place.report_path, {"records": self.records, "size": self.size, "tracks": tracks}
    )

  @classmethod
  def load(cls, place: ShardPlace) -> Self | None:
    """Return the report of a shard that is complete, else None."""
    try:
      values = read_json(place.report_path)
      tracks = [TrackReport.from_json(track) for track in values["tracks"]]
      report = cls(values["records"], values["size"], tracks)
      found = place.path.stat().st_size if place.path.is_file() else 0
    except (UserError, KeyError, TypeError, AttributeError, OSError):
      return None
    counted = sum(track.records for track in tracks)
    return report if (found, counted) == (report.size, report.records) else None


class Stored(NamedTuple):
  """A track that is in a shard, or was left out of it.

  Attributes:
    shard: path of the shard.
    first: its first record there.
    report: what became of it.
  """

  shard: Path
  first: int
  report: TrackReport


def find_places(folder: Path, source: str) -> Iterator[ShardPlace]:
  """List the shards of a source that have a report, in the order of their names."""
  try:
    names = sorted(path.name for path in (folder / source).iterdir())
  except FileNotFoundError:
    return
  for name in names:
    if match := _NAME.fullmatch(name):
      yield ShardPlace(folder, source, match[1], int(match[2]), int(match[3]))


def stored_tracks(place: ShardPlace, report: ShardReport) -> Iterator[Stored]:
  """List the tracks of a shard."""
  first = 0
  for track in report.tracks:
    yield Stored(place.path, first, track)
    first += track.records
