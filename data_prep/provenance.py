"""What a collection consists of: a table for manifest, model card and export."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from data_prep.shards import printable
from data_prep.tracks import TrackReport
from mixit_jax.data.manifest import SkippedFile

UNKNOWN_LICENSE = "unknown"


def provenance_of(
  name: str,
  reports: Iterable[TrackReport],
  licenses: Mapping[str, str],
  left_out: Counter[str],
) -> dict[str, Any]:
  """Count files, hours and licenses of what is used, and what was left out and why.

  Args:
    name: of the source, for readers.
    reports: what became of the tracks.
    licenses: by track, where they are known.
    left_out: files that were left out before, by kind.
  """
  used = [report for report in reports if report.records]
  by_license: dict[str, list[float]] = {}
  for report in used:
    license = licenses.get(report.file, UNKNOWN_LICENSE)
    by_license.setdefault(license, []).append(report.seconds)
  kinds = left_out + Counter(report.kind for report in reports if report.skipped)
  damaged = [report.damage for report in used if report.damage]
  return {
    "source": name,
    "files": len(used),
    "hours": _hours(report.seconds for report in used),
    "segments": sum(report.records for report in used),
    "licenses": {
      license: {"files": len(seconds), "hours": _hours(seconds)}
      for license, seconds in sorted(by_license.items())
    },
    "left_out": dict(sorted(kinds.items())),
    "cut_short": {
      "files": len(damaged),
      "seconds_lost": round(sum(damage.lost or 0 for damage in damaged), 3),
    },
  }


def notes_on(
  reports: Iterable[TrackReport], duplicates: Iterable[list[str]]
) -> list[SkippedFile]:
  """List what should be known of files that are used."""
  notes = []
  for report in reports:
    if report.records and report.damage:
      lost = report.damage.lost
      missing = "an unknown length" if lost is None else f"{lost:.1f} s"
      notes.append(
        (
          report.file,
          f"used up to {report.damage.seconds:.1f} s, {missing} lost:"
          f" {report.damage.reason}",
        )
      )
    if report.records and report.warning:
      notes.append((report.file, f"warning: {report.warning}"))
  used = {report.file for report in reports if report.records}
  for group in duplicates:
    kept = [file for file in group if file in used]
    notes += [(file, f"holds the same audio as {kept[0]}") for file in kept[1:]]
  return [{"file": printable(f), "reason": printable(reason)} for f, reason in notes]


def _hours(seconds: Iterable[float]) -> float:
  return round(sum(seconds) / 3600, 4)
