"""The files of a collection, and what became of each."""

import dataclasses
import hashlib
import os
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple, Self

from mixit_jax.audio.faults import AudioError

_HEX_DIGITS = 32


class Track(NamedTuple):
  """A file to prepare.

  Attributes:
    file: its path in the folder of the music, with slashes.
    size: in bytes.
    changed: time of its last change, in nanoseconds since the epoch.
  """

  file: str
  size: int
  changed: int


class UnusableError(AudioError):
  """A track that can be decoded, but not used.

  Attributes:
    kind: what is wrong in a word or two, for counts.
  """

  def __init__(self, track: str, kind: str, reason: str):
    super().__init__(track, reason)
    self.args = (track, kind, reason)
    self.kind = kind


@dataclasses.dataclass(frozen=True)
class Damage:
  """What is missing of a track that is used up to some point.

  Attributes:
    seconds: how much of it is used.
    lost: seconds that it announces and that are missing; None where that is not known.
    reason: what is wrong.
  """

  seconds: float
  lost: float | None
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackReport:
  """What became of a track.

  Attributes:
    file: path in the folder of the music.
    size: in bytes, when it was read.
    changed: time of its last change, as in `Track`.
    content: hash over its bytes.
    audio: hash over what was decoded; empty where nothing was.
    seconds: length of what was decoded.
    records: its segments in the shard.
    skipped: why it was left out; empty where it was not.
    kind: the same in a word or two, for counts.
    decoders: that refused it, by their versions; empty where they did not.
    damage: what is missing of it.
    warning: what seems wrong with it, though it was used.
  """

  file: str
  size: int
  changed: int
  content: str = ""
  audio: str = ""
  seconds: float = 0.0
  records: int = 0
  skipped: str = ""
  kind: str = ""
  decoders: str = ""
  damage: Damage | None = None
  warning: str = ""

  @property
  def track(self) -> Track:
    """The file as it was when it was read."""
    return Track(self.file, self.size, self.changed)

  def as_json(self) -> dict[str, Any]:
    """Return what differs from the defaults."""
    values = dataclasses.asdict(self)
    required = ("file", "size", "changed", "records")
    return {key: v for key, v in values.items() if v or key in required}

  @classmethod
  def from_json(cls, values: dict[str, Any]) -> Self:
    """Read what `as_json` gave.

    Raises:
      TypeError: it is something else.
    """
    damage = values.get("damage")
    return cls(**{**values, "damage": Damage(**damage) if damage else None})


def canonical(name: str) -> str:
  """Return a name in the Unicode form that does not depend on the file system."""
  return unicodedata.normalize("NFC", name)


def digest(name: str) -> bytes:
  """Return a hash of a name, the same on every machine."""
  return hashlib.sha256(os.fsencode(canonical(name))).digest()


def content_hash(path: Path) -> str:
  """Return a hash over the bytes of a file; empty where it cannot be read."""
  try:
    with path.open("rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()[:_HEX_DIGITS]
  except OSError:
    return ""
