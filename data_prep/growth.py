"""Make a prepared folder what its music asks for: decode what is new, copy the rest."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep import engine
from data_prep.crashes import MAX_CRASHES
from data_prep.duplicates import DuplicateRule, excluded_duplicates, find_duplicates
from data_prep.library import Library, jobs, refresh_times, remove_stale
from data_prep.music import MusicShard
from data_prep.music_reports import ShardReport
from data_prep.plan import Plan
from data_prep.progress import Work
from data_prep.provenance import notes_on, provenance_of
from data_prep.shards import ShardPlace, printable
from data_prep.tracks import Track, TrackReport, content_hash
from mixit_jax.data.manifest import MANIFEST_NAME, ShardEntry, SkippedFile
from mixit_jax.errors import UserError

_COMPARED_AT_ONCE = 64  # files


@dataclass(frozen=True)
class Grown:
  """A folder whose shards are complete.

  Attributes:
    reports: what became of the tracks of each shard, in the order of the shards.
    duplicates: groups of tracks that hold the same audio.
  """

  reports: Mapping[ShardPlace, ShardReport]
  duplicates: list[list[str]]

  @property
  def tracks(self) -> list[TrackReport]:
    """What became of every track, by split and name."""
    listed = [(p.split, t.file, t) for p, r in self.reports.items() for t in r.tracks]
    return [track for _, _, track in sorted(listed, key=lambda entry: entry[:2])]

  @property
  def splits(self) -> dict[str, dict[str, list[ShardEntry]]]:
    """The shards by split and source, as in a manifest."""
    splits: dict[str, dict[str, list[ShardEntry]]] = {}
    for place, report in self.reports.items():
      if report.records:
        entries = splits.setdefault(place.split, {}).setdefault(place.source, [])
        entries.append({"file": place.file, "records": report.records})
    return splits

  @property
  def skipped(self) -> list[SkippedFile]:
    """The tracks that were left out."""
    return [
      {"file": printable(track.file), "reason": track.skipped}
      for track in self.tracks
      if track.skipped
    ]

  @property
  def notes(self) -> list[SkippedFile]:
    """What should be known of tracks that are used."""
    return notes_on(self.tracks, self.duplicates)

  @property
  def content(self) -> str:
    """Hash over the tracks that are used, and their audio."""
    digest = hashlib.sha256()
    for track in self.tracks:
      if track.records:
        digest.update(f"{printable(track.file)}\0{track.audio}\0".encode())
    return digest.hexdigest()

  def provenance(
    self, name: str, licenses: Mapping[str, str], left_out: Counter[str]
  ) -> dict[str, Any]:
    """Count what is used; see `provenance.provenance_of`."""
    table = provenance_of(name, self.tracks, licenses, left_out)
    return {**table, "duplicates": sum(len(group) - 1 for group in self.duplicates)}


def grow(
  plan: Plan,
  *,
  duplicates: DuplicateRule,
  verify: bool,
  retry: bool,
  workers: int,
  scheduler: str | None,
) -> Grown:
  """Complete the shards of a plan.

  What is there already is not decoded again. While shards change there is no manifest:
  its presence says that the set is complete.

  Args:
    plan: what is wanted.
    duplicates: what happens to tracks that hold the same audio.
    verify: whether to compare the content of all files with what was prepared.
    retry: whether tracks that were left out are tried again.
    workers: number of processes.
    scheduler: of a Dask cluster; see `engine.run`.

  Raises:
    UserError: shards cannot be written.
  """
  library = Library(plan.out, plan.source)
  tracks = [track for members in plan.shards.values() for track in members]
  splits = {
    track.file: place.split
    for place, members in plan.shards.items()
    for track in members
  }
  compared = _compare(library.touched(tracks, verify), plan.audio, workers, scheduler)
  current = library.current(tracks, compared, retry)
  refresh_times(library, current)
  print(
    f"{plan.out}: {len(tracks) - len(current):,} of {len(tracks):,} files are to do"
  )
  groups = find_duplicates(_by_split((s.report for s in current.values()), splits))
  excluded = excluded_duplicates(groups, splits, duplicates)
  while pending := jobs(plan, library, current, excluded):
    (plan.out / MANIFEST_NAME).unlink(missing_ok=True)
    most = max(len(job.tracks) for job in pending)
    engine.run(_run_job, pending, workers, "shards", MAX_CRASHES * most, scheduler)
    library = Library(plan.out, plan.source)
    for job in pending:
      if job.place not in library.reports:
        raise UserError(
          f"{job.place.path}: is not there though it was written; do all workers share"
          f" {plan.out}? Run the same command again"
        )
    # What was decoded just now is known; whether it is a duplicate, only now.
    current = library.current(tracks, {}, retry=False)
    groups = find_duplicates(_by_split((s.report for s in current.values()), splits))
    excluded = excluded_duplicates(groups, splits, duplicates)
  if remove_stale(plan, library):
    (plan.out / MANIFEST_NAME).unlink(missing_ok=True)
  reports = {place: library.reports[place] for place in plan.shards}
  return Grown(reports, groups)


def _run_job(job: MusicShard) -> Work:
  return job.run()


@dataclass(frozen=True)
class _Comparison:
  """Files whose content is to be hashed."""

  audio: Path
  tracks: tuple[Track, ...]

  @property
  def work(self) -> Work:
    return Work(len(self.tracks), sum(track.size for track in self.tracks))


def _compare(
  tracks: list[Track], audio: Path, workers: int, scheduler: str | None
) -> dict[str, str]:
  """Return hashes over the content of files."""
  items = [
    _Comparison(audio, tuple(tracks[first : first + _COMPARED_AT_ONCE]))
    for first in range(0, len(tracks), _COMPARED_AT_ONCE)
  ]
  hashes = engine.run(_hash_files, items, workers, "compared", 3, scheduler)
  return {file: value for part in hashes for file, value in part.items()}


def _hash_files(item: _Comparison) -> dict[str, str]:
  return {t.file: content_hash(item.audio / t.file) for t in item.tracks}


def _by_split(
  reports: Iterable[TrackReport], splits: Mapping[str, str]
) -> dict[str, list[TrackReport]]:
  sorted_out: dict[str, list[TrackReport]] = {}
  for report in reports:
    sorted_out.setdefault(splits[report.file], []).append(report)
  return sorted_out
