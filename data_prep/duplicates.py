"""Tracks that hold the same audio, within and across splits."""

from collections.abc import Iterable, Mapping
from typing import Literal

from data_prep.music import DUPLICATE
from data_prep.shards import printable
from data_prep.tracks import TrackReport

DuplicateRule = Literal["keep", "apart", "drop"]

SPLITS = ("train", "valid", "test")


def find_duplicates(reports: Mapping[str, Iterable[TrackReport]]) -> list[list[str]]:
  """Group tracks whose decoded audio is the same, whatever their tags.

  Args:
    reports: what became of the tracks, by split.

  Returns:
    groups of two or more tracks; in each, those of training come first, then by name.
  """
  groups: dict[str, list[str]] = {}
  for split in SPLITS:
    members = reports.get(split, ())
    for report in sorted(members, key=lambda report: report.file):
      if report.audio and report.kind in ("", DUPLICATE):
        groups.setdefault(report.audio, []).append(report.file)
  return [group for group in groups.values() if len(group) > 1]


def excluded_duplicates(
  groups: Iterable[list[str]], splits: Mapping[str, str], rule: DuplicateRule
) -> dict[str, str]:
  """Choose which duplicates are left out.

  Args:
    groups: as `find_duplicates` returns them.
    splits: split of every track.
    rule: "keep" leaves none out; "apart" those in validation and test, so that nothing
      is heard in training or twice; "drop" all but the first of each group.

  Returns:
    the reasons, by track.
  """
  excluded: dict[str, str] = {}
  for first, *others in groups:
    for other in others:
      if rule == "drop" or (rule == "apart" and splits[other] != "train"):
        where = (
          "" if splits[first] == splits[other] else f", which is in {splits[first]}"
        )
        excluded[other] = f"holds the same audio as {printable(first)}{where}"
  return excluded
