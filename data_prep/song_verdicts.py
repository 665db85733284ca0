"""Decide, from what was measured, which songs are used and how."""

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data_prep.crashes import MAX_CRASHES
from data_prep.preparation import fingerprint, run_jobs
from data_prep.segments import Cut
from data_prep.shards import ShardPlace, printable
from data_prep.song_checks import SongCheck, judge
from data_prep.song_files import Rules, SongFiles, stop_message
from mixit_jax.data.manifest import SkippedFile
from mixit_jax.errors import UserError
from mixit_jax.files import read_json, write_json

CHECKS_NAME = "checks.json"
_TOLD = 20


@dataclasses.dataclass(frozen=True)
class Checked:
  """Songs that were read.

  Attributes:
    train: songs for training.
    valid: songs for validation.
    skipped: songs that are left out, and why.
    misaligned: names of songs that are to be aligned.
    reports: what was measured, by the name of the song.
    said: what to tell.
  """

  train: list[SongFiles]
  valid: list[SongFiles]
  skipped: list[SkippedFile]
  misaligned: frozenset[str]
  reports: dict[str, dict[str, Any]]
  said: list[str]

  def forget_former(self, out: Path, places: Iterable[ShardPlace]) -> None:
    """Note the songs in the shards; have shards of other songs made again.

    A song that was mended since joins the others: shards are dealt anew.
    """
    path = out / CHECKS_NAME
    songs = fingerprint(song.name for song in self.train)
    former = read_json(path, "delete it").get("train") if path.exists() else songs
    if former != songs:
      for place in places:
        place.report_path.unlink(missing_ok=True)
    notes = {"train": songs, "songs": self.reports, "skipped": self.skipped}
    write_json(path, notes)


def check_songs(
  out: Path,
  songs: Sequence[SongFiles],
  valid: set[Path],
  rules: Rules,
  cut: Cut,
  workers: int,
) -> Checked:
  """Read every song whole, say what is odd, and decide.

  A broken file costs a training song only its stem, which the shard leaves out, and a
  validation song itself.

  Args:
    out: folder of the result.
    songs: all songs.
    valid: folders of those for validation.
    rules: what is done with odd songs.
    cut: how segments are cut.
    workers: number of processes.

  Raises:
    UserError: a rule is "stop", and a song is against it.
  """
  checks = [
    SongCheck(song, out / "checks" / f"{song.name}.json", cut.sample_rate)
    for song in songs
  ]
  run_jobs(out, checks, workers, "songs read", MAX_CRASHES)
  stay: list[SongFiles] = []
  skipped: list[SkippedFile] = []
  misaligned = set()
  said: list[str] = []
  stopped: dict[str, list[str]] = {"misaligned": [], "mixture": []}
  reports = {check.song.name: check.report() for check in checks}
  for song in songs:
    problems = judge(reports[song.name], rules)
    reasons = []
    for kind, problem in problems.items():
      rule = getattr(rules, kind, "")
      if rule == "stop":
        stopped[kind].append(f"{song.name}: {problem}")
      elif rule == "skip":
        reasons.append(problem)
        said.append(f"{song.name}: left out: {problem} (--{kind})")
      elif rule == "align":
        misaligned.add(song.name)
        said.append(f"{song.name}: aligned: {problem} (--{kind})")
      elif rule == "keep":
        said.append(f"{song.name}: kept: {problem} (--{kind})")
    if reasons:
      skipped.append({"file": printable(song.name), "reason": "; ".join(reasons)})
    else:
      stay.append(song)
  for kind, against in stopped.items():
    if against:
      raise UserError(stop_message(kind, against))
  return Checked(
    train=[song for song in stay if song.folder not in valid],
    valid=[song for song in stay if song.folder in valid],
    skipped=skipped,
    misaligned=frozenset(misaligned),
    reports=reports,
    said=said,
  )


def tell(lines: Sequence[str], out: Path) -> None:
  """Print what is odd about songs, the first ones of many."""
  for line in lines[:_TOLD]:
    print(f"warning: {line}", file=sys.stderr)
  if len(lines) > _TOLD:
    print(f"warning: {len(lines) - _TOLD} more in {out / CHECKS_NAME}", file=sys.stderr)
