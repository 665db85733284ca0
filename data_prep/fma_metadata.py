"""The metadata of FMA (tracks.csv): which track is in which split and subset."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mixit_jax.errors import UserError

# Every subset contains the ones before it.
SUBSETS = ("small", "medium", "large", "full")
SPLITS = {"training": "train", "validation": "valid", "test": "test"}

LICENSES = (
  "cc0",
  "public-domain",
  "cc-by",
  "cc-by-sa",
  "cc-by-nd",
  "cc-by-nc",
  "cc-by-nc-sa",
  "cc-by-nc-nd",
  "other",
  "unknown",
)

_LONGEST_FIELD = 1 << 24  # some biographies are longer than the csv module allows


@dataclass(frozen=True)
class FmaTrack:
  """What the metadata says about one track.

  Attributes:
    split: "train", "valid" or "test".
    subset: the smallest subset that contains it.
    license: its license, as `license_code` names it.
    artist: number of its artist; empty where the table has none.
    album: number of its album; empty where the table has none.
  """

  split: str
  subset: str
  license: str = "unknown"
  artist: str = ""
  album: str = ""

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


def license_code(text: str) -> str:
  """Return the short name of a license that the table spells in many ways.

  Args:
    text: such as "Attribution-NonCommercial 3.0 International".

  Returns:
    one of `LICENSES`; versions and countries are dropped.
  """
  letters = "".join(letter for letter in text.lower() if letter.isalnum())
  if not letters:
    return "unknown"
  if "cc0" in letters:
    return "cc0"
  if "publicdomain" in letters:
    return "public-domain"
  if "attribution" not in letters or "sampling" in letters:
    return "other"
  parts = [
    part
    for part, word in (("nc", "noncommercial"), ("nd", "noderiv"), ("sa", "sharealike"))
    if word in letters
  ]
  code = "-".join(["cc-by", *parts])
  return code if code in LICENSES else "other"


def _parse(path: Path, rows: Iterator[list[str]]) -> dict[int, FmaTrack]:
  columns = list(zip(next(rows, []), next(rows, []), strict=False))
  try:
    split, subset = columns.index(("set", "split")), columns.index(("set", "subset"))
  except ValueError:
    raise UserError(
      f"{path}: expected columns (set, split) and (set, subset) in two rows of column"
      " names; is it the tracks.csv of FMA?"
    ) from None
  places = {
    name: columns.index(column)
    for name, column in (
      ("license", ("track", "license")),
      ("artist", ("artist", "id")),
      ("album", ("album", "id")),
    )
    if column in columns
  }
  tracks = {}
  for row in rows:
    if not row or not row[0].isdigit():
      continue  # the row that names the index
    try:
      more = {name: row[place] for name, place in places.items()}
      more["license"] = license_code(more.get("license", ""))
      track = FmaTrack(SPLITS[row[split]], row[subset], **more)
    except (KeyError, IndexError):
      track = None
    if track is None or track.subset not in SUBSETS:
      raise UserError(f"{path}: track {row[0]} has no known split or subset")
    tracks[int(row[0])] = track
  if not tracks:
    raise UserError(f"{path}: lists no track")
  return tracks
