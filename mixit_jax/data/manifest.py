"""The manifest of a prepared data set: what its shards hold and how they were made."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Self, TypedDict

from mixit_jax.errors import UserError
from mixit_jax.files import write_json
from mixit_jax.stems import MIXTURE, in_order

MANIFEST_NAME = "manifest.json"
VERSION = 1
# Keys that the first manifests do not have.
_LATER_KEYS = {"content", "notes", "provenance", "stems"}


class ShardEntry(TypedDict):
  """One shard: its path relative to the folder, and its number of records."""

  file: str
  records: int


class SkippedFile(TypedDict):
  """A file that the preparation left out, and why."""

  file: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What the shards of a data set hold; stored as `manifest.json` beside them.

  The preparation writes it last, so its presence shows that the set is complete.

  Attributes:
    kind: the data set: "fma", "musdb", or "stems" for songs with other stems.
    sample_rate: in Hz.
    seconds: length of every segment.
    hop_seconds: distance of successive segments of a track.
    num_channels: channels of every segment.
    codec: "flac" or "wav".
    splits: shards by split ("train", "valid", "test") and source ("mixture" or the
      name of a stem).
    songs: whole songs by split, as folders relative to the manifest.
    skipped: files that were left out, and why.
    content: hash over what was prepared; empty in older manifests.
    notes: what should be known of files that were not left out.
    provenance: what the set consists of: source, files, hours, licenses, and numbers of
      files that were left out, by kind.
    stems: names of the stems in their order; empty for unlabeled music, and in sets
      that were prepared before it was noted.
    version: version of this format.
  """

  kind: str
  sample_rate: int
  seconds: float
  hop_seconds: float
  num_channels: int
  codec: str
  splits: dict[str, dict[str, list[ShardEntry]]]
  songs: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  skipped: list[SkippedFile] = dataclasses.field(default_factory=list)
  content: str = ""
  notes: list[SkippedFile] = dataclasses.field(default_factory=list)
  provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
  stems: list[str] = dataclasses.field(default_factory=list)
  version: int = VERSION

  @property
  def fingerprint(self) -> str:
    """Hash over format, shard list, counts and content: equal for equal data.

    It ignores the place of the folder, and also songs, skipped files, notes, provenance
    and the order of the stems, on which no random draw of the pipelines depends.
    """
    content = dataclasses.asdict(self)
    for key in ("songs", "skipped", "notes", "provenance", "stems"):
      del content[key]
    if not self.content:  # as in older manifests
      del content["content"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

  def shards(self, folder: Path, split: str, source: str) -> list[ShardEntry]:
    """Return the shards of a source; `folder` is named in errors.

    Raises:
      UserError: the data set has no such split or source.
    """
    if split not in self.splits:
      raise UserError(
        f"{folder}: has no split {split!r}, only {_listed(self.splits)};"
        " name one of these or prepare the data again"
      )
    sources = self.splits[split]
    if source not in sources:
      raise UserError(
        f"{folder}: split {split!r} has no source {source!r}, only"
        f" {_listed(sources)}; is this the right data set?"
      )
    return sources[source]

  def stem_names(self) -> tuple[str, ...]:
    """Return the names of the stems in their order; none for unlabeled music."""
    if self.stems:
      return tuple(self.stems)
    return in_order(self.splits.get("train", {}).keys() - {MIXTURE})

  def save(self, folder: Path) -> None:
    """Write the manifest into the folder, atomically."""
    content = {**dataclasses.asdict(self), "fingerprint": self.fingerprint}
    write_json(Path(folder) / MANIFEST_NAME, content)

  @classmethod
  def load(cls, folder: Path) -> Self:
    """Read the manifest of a folder.

    Raises:
      UserError: it is missing, unreadable, of another version, or was changed.
    """
    path = Path(folder) / MANIFEST_NAME
    try:
      content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
      raise UserError(
        f"{path}: not found; give the folder that `python -m data_prep.fma` or"
        " `data_prep.musdb` wrote, and let the preparation finish"
      ) from None
    except (OSError, ValueError) as error:
      raise UserError(
        f"{path}: cannot be read ({error}); prepare the data again"
      ) from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
      raise UserError(
        f"{path}: expected version {VERSION} of the manifest, found {version};"
        " prepare the data again with this version of mixit_jax"
      )
    stated = content.pop("fingerprint", None)
    _check_keys(path, content, cls)
    manifest = cls(**content)
    if stated != manifest.fingerprint:
      raise UserError(
        f"{path}: its fingerprint does not match its shard list, so it was edited;"
        " prepare the data again"
      )
    return manifest


def _check_keys(path: Path, content: dict[str, Any], cls: type) -> None:
  """Raise a UserError unless the keys are those of the class."""
  fields = {field.name for field in dataclasses.fields(cls)}
  if missing := fields - content.keys() - _LATER_KEYS:
    raise UserError(f"{path}: lacks {_listed(missing)}; prepare the data again")
  if unknown := content.keys() - fields:
    raise UserError(
      f"{path}: has unknown keys {_listed(unknown)}; prepare the data again"
    )


def _listed(names: Any) -> str:
  """Return the names in one line, in order."""
  return ", ".join(repr(name) for name in sorted(names))
