"""What earlier runs have left in a folder: which tracks are done, and what is stale."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from data_prep.decoders import decoder_versions
from data_prep.music import DUPLICATE, MusicShard
from data_prep.music_reports import ShardReport, Stored, find_places, stored_tracks
from data_prep.plan import Plan
from data_prep.shards import ShardPlace
from data_prep.tracks import Track, TrackReport


class Library:
  """What earlier runs have left in a folder."""

  def __init__(self, out: Path, source: str):
    """Read all reports."""
    self.reports: dict[ShardPlace, ShardReport] = {}
    self.tracks: dict[str, Stored] = {}
    self.places = list(find_places(out, source))
    for place in self.places:
      if (report := ShardReport.load(place)) is not None:
        self.reports[place] = report
        for stored in stored_tracks(place, report):
          self.tracks[stored.report.file] = stored

  def touched(self, tracks: Iterable[Track], verify: bool) -> list[Track]:
    """List the tracks whose content must be compared: of another time, or all."""
    known = ((track, self.tracks.get(track.file)) for track in tracks)
    return [
      track
      for track, stored in known
      if stored
      and stored.report.size == track.size
      and (verify or stored.report.changed != track.changed)
    ]

  def current(
    self, tracks: Iterable[Track], contents: Mapping[str, str], retry: bool
  ) -> dict[str, Stored]:
    """Find the tracks that need not be decoded again.

    Args:
      tracks: as they are now.
      contents: hashes over the content of those that `touched` lists.
      retry: whether tracks that were left out are tried again.
    """
    decoders, found = decoder_versions(), {}
    for track in tracks:
      stored = self.tracks.get(track.file)
      if stored is None:
        continue
      report = stored.report
      if track.file in contents:
        same = bool(report.content) and contents[track.file] == report.content
      else:
        same = report.track == track
      given_up = bool(report.skipped) and report.kind != DUPLICATE
      again = given_up and (retry or report.decoders not in ("", decoders))
      if same and not again:
        refreshed = replace(report, changed=track.changed)
        found[track.file] = stored._replace(report=refreshed)
    return found


def jobs(
  plan: Plan, library: Library, current: Mapping[str, Stored], excluded: dict[str, str]
) -> list[MusicShard]:
  """List the shards that must be written.

  Args:
    plan: what is wanted.
    library: what is there.
    current: tracks that need not be decoded again.
    excluded: tracks that are duplicates, with reasons.
  """
  pending = []
  for place, tracks in plan.shards.items():
    usable = {
      track.file: current[track.file]
      for track in tracks
      if track.file in current and _serves(current[track.file], excluded)
    }
    left_out = {t.file: excluded[t.file] for t in tracks if t.file in excluded}
    job = MusicShard(place, plan.audio, tracks, plan.rules, usable, left_out)
    if not _is_done(job, library.reports.get(place)):
      pending.append(job)
  return pending


def _serves(stored: Stored, excluded: Mapping[str, str]) -> bool:
  """Tell whether the records of a track are there, if they are needed."""
  return stored.report.kind != DUPLICATE or stored.report.file in excluded


def _is_done(job: MusicShard, report: ShardReport | None) -> bool:
  """Tell whether a shard is as it should be."""
  if report is None or len(report.tracks) != len(job.tracks):
    return False
  for track, done in zip(job.tracks, report.tracks, strict=True):
    if track.file != done.file or track.file not in job.stored:
      return False
    reason = done.skipped if done.kind == DUPLICATE else ""
    if job.excluded.get(track.file, "") != reason:
      return False
  return True


def refresh_times(library: Library, current: Mapping[str, Stored]) -> None:
  """Write new times of files whose content is the same into the reports."""
  for place, report in library.reports.items():
    tracks: list[TrackReport] = [
      current[track.file].report if track.file in current else track
      for track in report.tracks
    ]
    if tracks != report.tracks:
      replace(report, tracks=tracks).save(place)


def remove_stale(plan: Plan, library: Library) -> bool:
  """Delete shards that do not belong to the collection any longer; tell if any did."""
  stale = [place for place in library.places if place not in plan.shards]
  for place in stale:
    place.report_path.unlink(missing_ok=True)
    place.path.unlink(missing_ok=True)
  return bool(stale)
