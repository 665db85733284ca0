"""Shards of unlabeled music: one job per shard, which any engine can run."""

import functools
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from array_record.python.array_record_data_source import ArrayRecordDataSource

from data_prep.crashes import DIED, CrashLog
from data_prep.cutting import Rules, cut_track
from data_prep.decoders import decoder_versions
from data_prep.music_reports import ShardReport, Stored
from data_prep.progress import Work
from data_prep.shards import ShardPlace, printable
from data_prep.tracks import Track, TrackReport, UnusableError, content_hash
from mixit_jax.audio.files import AudioError
from mixit_jax.data.records import write_shard
from mixit_jax.errors import UserError, one_line

DUPLICATE = "duplicate"
UNDECODABLE = "cannot be decoded"
TOO_LARGE = "too large"


@dataclass(frozen=True)
class MusicShard:
  """A shard of unlabeled music.

  Attributes:
    place: where it belongs.
    audio: folder of the tracks.
    tracks: to be in it, in this order.
    rules: which tracks are used, and how.
    stored: tracks that were prepared before and have not changed; their records are
      copied.
    excluded: tracks that are duplicates, with reasons; no record of them is kept.
  """

  place: ShardPlace
  audio: Path
  tracks: tuple[Track, ...]
  rules: Rules
  stored: Mapping[str, Stored] = field(default_factory=dict)
  excluded: Mapping[str, str] = field(default_factory=dict)

  def __str__(self) -> str:
    return str(self.place.path)

  @property
  def work(self) -> Work:
    """What is to be decoded."""
    new = [track for track in self.tracks if track.file not in self.stored]
    return Work(files=len(new), size=sum(track.size for track in new))

  def run(self) -> Work:
    """Write the shard and its report.

    Returns:
      what was decoded.

    Raises:
      UserError: the shard cannot be written.
    """
    path = self.place.path
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      for left_over in path.parent.glob(f".{path.stem}.*.tmp"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a run that was killed
      with tempfile.TemporaryDirectory(
        ".tmp", f".{path.stem}.", path.parent, ignore_cleanup_errors=True
      ) as folder:
        report = self._write(Path(folder))
    except OSError as error:
      raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    report.save(self.place)  # last: it marks the shard done
    self._crash_log.close()
    new = [track for track in report.tracks if track.file not in self.stored]
    return Work(
      len(new), sum(track.size for track in new), sum(track.seconds for track in new)
    )

  @functools.cached_property
  def _crash_log(self) -> CrashLog:
    return CrashLog(self.place.path.with_name(f".{self.place.path.stem}.running"))

  def _write(self, folder: Path) -> ShardReport:
    """Write the shard in a folder of its own first, and put it in its place."""
    path, new = self.place.path, folder / self.place.path.name
    reports: list[TrackReport] = []
    count = write_shard(new, self._records(reports, folder))
    size = new.stat().st_size if count else 0
    # A report that belongs to another shard would be worse than none.
    self.place.report_path.unlink(missing_ok=True)
    if count:
      new.replace(path)
    else:
      path.unlink(missing_ok=True)
    return ShardReport(count, size, reports)

  def _records(self, reports: list[TrackReport], folder: Path) -> Iterator[bytes]:
    """Yield the records of all tracks, and report on each in turn."""
    for track in self.tracks:
      stored, reason = self.stored.get(track.file), self.excluded.get(track.file)
      if stored is not None:
        report = stored.report
        if reason is not None:
          report = replace(report, records=0, skipped=reason, kind=DUPLICATE)
        reports.append(report)
        yield from _copied(stored, report.records)
      else:
        report, records = self._prepare(track, folder)
        if reason is not None and not report.skipped:
          report = replace(report, records=0, skipped=reason, kind=DUPLICATE)
          records = iter(())
        reports.append(report)
        yield from records

  def _prepare(self, track: Track, folder: Path) -> tuple[TrackReport, Iterator[bytes]]:
    """Decode a track and cut it; no record where it cannot be used."""
    path = self.audio / track.file
    known = track._asdict()
    content = content_hash(path)
    try:
      with self._crash_log.watch(track.file):
        cut = cut_track(path, track.file, self.rules, folder)
    except UnusableError as error:
      kind, reason = error.kind, error.reason
    except AudioError as error:
      kind, reason = UNDECODABLE, error.reason
    except MemoryError:
      kind, reason = TOO_LARGE, "does not fit into memory"
    else:
      report = TrackReport(
        **known,
        content=content,
        audio=cut.audio,
        seconds=cut.seconds,
        records=cut.count,
        damage=cut.damage,
        warning=cut.warning,
      )
      return report, cut.records
    # Another decoder may do better with these.
    decoders = decoder_versions() if kind in (UNDECODABLE, TOO_LARGE, DIED) else ""
    report = TrackReport(
      **known, content=content, skipped=printable(reason), kind=kind, decoders=decoders
    )
    return report, iter(())


def _copied(stored: Stored, count: int) -> Iterator[bytes]:
  """Yield records of a shard as they are."""
  if not count:
    return
  try:
    reader = _reader(stored.shard, stored.shard.stat().st_mtime_ns)
    for number in range(stored.first, stored.first + count):
      yield reader[number]
  except (RuntimeError, ValueError, IndexError) as error:
    raise UserError(
      f"{stored.shard}: cannot be read ({one_line(error)}); the shard is damaged:"
      " delete it and run the same command again"
    ) from error


@functools.lru_cache(maxsize=2)
def _reader(shard: Path, changed: int) -> ArrayRecordDataSource:
  """Open a shard; `changed` tells it from a later one of the same name."""
  del changed
  return ArrayRecordDataSource(str(shard))
