"""The metadata of FMA (tracks.csv): which track is in which split and subset."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mixit_jax.errors import UserError

# Every subset contains the ones before it.
SUBSETS = ("small", "medium", "large", "full")
SPLITS = {"training": "train", "validation": "valid", "test": "test"}

_LONGEST_FIELD = 1 << 24  # some biographies are longer than the csv module allows


@dataclass(frozen=True)
class FmaTrack:
  """What the metadata says about one track.

  Attributes:
    split: "train", "valid" or "test".
    subset: the smallest subset that contains it.
  """

  split: str
  subset: str

  def is_in(self, subset: str) -> bool:
    """Tell whether the track belongs to a subset."""
    return SUBSETS.index(self.subset) <= SUBSETS.index(subset)


def read_tracks(metadata: Path) -> dict[int, FmaTrack]:
  """Read the tracks by their numbers.

  The table has two rows of column names, a group and a name each, and a third that
  only names the index.

  Args:
    metadata: the folder fma_metadata, or its tracks.csv.

  Raises:
    UserError: the table is missing, or is not that of FMA.
  """
  path = metadata / "tracks.csv" if metadata.is_dir() else metadata
  if not path.is_file():
    raise UserError(
      f"{path}: not found; --metadata expects the unpacked folder fma_metadata"
    )
  limit = csv.field_size_limit(_LONGEST_FIELD)
  try:
    with path.open(encoding="utf-8", newline="") as file:
      return _parse(path, csv.reader(file))
  except (csv.Error, UnicodeDecodeError, OSError) as error:
    raise UserError(f"{path}: cannot be read as the table of FMA ({error})") from error
  finally:
    csv.field_size_limit(limit)


def _parse(path: Path, rows: Iterator[list[str]]) -> dict[int, FmaTrack]:
  columns = list(zip(next(rows, []), next(rows, []), strict=False))
  try:
    split, subset = columns.index(("set", "split")), columns.index(("set", "subset"))
  except ValueError:
    raise UserError(
      f"{path}: expected columns (set, split) and (set, subset) in two rows of column"
      " names; is it the tracks.csv of FMA?"
    ) from None
  tracks = {}
  for row in rows:
    if not row or not row[0].isdigit():
      continue  # the row that names the index
    try:
      track = FmaTrack(SPLITS[row[split]], row[subset])
    except (KeyError, IndexError):
      track = None
    if track is None or track.subset not in SUBSETS:
      raise UserError(f"{path}: track {row[0]} has no known split or subset")
    tracks[int(row[0])] = track
  if not tracks:
    raise UserError(f"{path}: lists no track")
  return tracks
