"""Write shards of segments, track by track, and a report on each of them.

A broken track never stops a shard: it is left out, and the report beside the shard
(`train-00000-of-00016.json`) says why.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from data_prep.crashes import CrashLog
from data_prep.tracks import canonical
from mixit_jax.audio.files import AudioError
from mixit_jax.data.manifest import ShardEntry, SkippedFile
from mixit_jax.data.records import write_shard
from mixit_jax.errors import UserError
from mixit_jax.files import read_json, write_json

# A preparation is cut into this many shards, or into more if these would be too full.
_FEWEST_SHARDS = 16
_FULL_SHARD = 100

Track = TypeVar("Track")


@dataclass(frozen=True)
class ShardPlace:
  """Where a shard belongs.

  Attributes:
    folder: folder of the whole data set.
    source: "mixture" or the name of a stem.
    split: "train", "valid" or "test".
    number: number of the shard, from 0.
    count: number of shards of its source and split.
  """

  folder: Path
  source: str
  split: str
  number: int
  count: int

  @property
  def file(self) -> str:
    """Path of the shard relative to the folder."""
    name = f"{self.split}-{self.number:05d}-of-{self.count:05d}.arrayrecord"
    return f"{self.source}/{name}"

  @property
  def path(self) -> Path:
    """Path of the shard."""
    return self.folder / self.file

  @property
  def report_path(self) -> Path:
    """Path of the report, which is written when the shard is complete."""
    return self.path.with_suffix(".json")


@dataclass(frozen=True)
class ShardReport:
  """What became of the tracks of a shard.

  Attributes:
    records: segments in the shard; where there are none, it has no file.
    size: bytes of the shard.
    skipped: tracks that were left out, and why.
  """

  records: int
  size: int
  skipped: list[SkippedFile]


def tracks_per_shard(num_tracks: int) -> int:
  """Choose the tracks per shard: few enough that all workers have shards to write."""
  return min(max(-(-num_tracks // _FEWEST_SHARDS), 1), _FULL_SHARD)


def place_tracks(
  folder: Path, source: str, split: str, tracks: Sequence[Track], per_shard: int
) -> list[tuple[ShardPlace, tuple[Track, ...]]]:
  """Deal the tracks of one split out to shards, in order."""
  count = -(-len(tracks) // per_shard)
  return [
    (
      ShardPlace(folder, source, split, number, count),
      tuple(tracks[number * per_shard : (number + 1) * per_shard]),
    )
    for number in range(count)
  ]


def write_tracks(
  place: ShardPlace, tracks: Iterable[str], cut: Callable[[str], Iterator[bytes]]
) -> None:
  """Write the segments of some tracks to a shard, and its report.

  Args:
    place: where the shard belongs.
    tracks: names of the tracks.
    cut: yields the records of a track; it raises an AudioError for a track that cannot
      be used, before it yields any.

  Raises:
    UserError: the shard cannot be written.
  """
  place.path.parent.mkdir(parents=True, exist_ok=True)
  for left_over in place.path.parent.glob(f".{place.path.stem}*.tmp"):
    left_over.unlink(missing_ok=True)  # of a run that was killed
  skipped: list[SkippedFile] = []
  crashes = CrashLog(place.path.with_name(f".{place.path.stem}.running"))

  def records() -> Iterator[bytes]:
    for track in tracks:
      try:
        with crashes.watch(track):
          yield from cut(track)
      except AudioError as error:
        skipped.append({"file": printable(track), "reason": printable(error.reason)})
      except MemoryError:
        reason = "does not fit into memory"
        skipped.append({"file": printable(track), "reason": reason})

  segments = records()
  first = next(segments, None)
  if first is None:
    place.path.unlink(missing_ok=True)
    report = ShardReport(0, 0, skipped)
  else:
    count = write_shard(place.path, itertools.chain([first], segments))
    report = ShardReport(count, place.path.stat().st_size, skipped)
  crashes.close()
  write_json(place.report_path, asdict(report))  # last: it marks the shard done


def read_report(place: ShardPlace) -> ShardReport | None:
  """Return the report of a shard that is complete, else None."""
  if not place.report_path.is_file():
    return None
  try:
    report = ShardReport(**read_json(place.report_path))
  except (UserError, TypeError):
    return None
  size = place.path.stat().st_size if place.path.is_file() else 0
  return report if size == report.size else None


def collect(
  places: Iterable[ShardPlace],
) -> tuple[dict[str, dict[str, list[ShardEntry]]], list[SkippedFile]]:
  """Gather the content of a manifest: shards by split and source, skipped tracks.

  Shards without records are left out.
  """
  splits: dict[str, dict[str, list[ShardEntry]]] = {}
  skipped: list[SkippedFile] = []
  for place in places:
    report = read_report(place)
    if report is None:
      raise UserError(f"{place.path}: vanished; run the same command again")
    skipped += report.skipped
    if report.records:
      entries = splits.setdefault(place.split, {}).setdefault(place.source, [])
      entries.append({"file": place.file, "records": report.records})
  return splits, skipped


def printable(name: str) -> str:
  """Return a name as text that can be stored: bytes that are not UTF-8 become "?".

  It is in the Unicode form that does not depend on the file system.
  """
  return canonical(name.encode("utf-8", "replace").decode("utf-8"))
