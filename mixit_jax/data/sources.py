"""The records of one source, from one folder or from several that are mixed."""

import bisect
import itertools
from collections.abc import Sequence
from pathlib import Path

import grain
import numpy as np

from mixit_jax.data.damage import Damage
from mixit_jax.data.draws import record_order, weighted_order
from mixit_jax.data.encoding import RecordError, Segment
from mixit_jax.data.records import ShardSource, open_shards
from mixit_jax.errors import UserError

# Records that are tried in place of a damaged one.
_TRIES = 16


class Sources:
  """Segments of one source and split, of one folder after the other.

  Record ids count the records of all folders in their order. A damaged record is
  replaced by another one of its folder, which is drawn from the generator of the
  example: still, an example follows from its index and the data alone.

  Attributes:
    num_channels: channels of every segment.
  """

  def __init__(
    self,
    parts: Sequence[ShardSource],
    weights: Sequence[float] = (),
    max_damaged: float = 0.0,
  ):
    """Put the parts together.

    Args:
      parts: the source in each folder.
      weights: share of the examples from each; none: by their numbers of records.
      max_damaged: share of the records that may be damaged, see `Damage`.
    """
    self._parts = list(parts)
    self._weights = tuple(weights)
    self._ends = list(itertools.accumulate(len(part) for part in parts))
    self.num_channels = parts[0].manifest.num_channels
    what = f"records of source {parts[0].source!r}"
    self._damage = Damage(what, len(self), max_damaged)

  def __len__(self) -> int:
    """Return the number of records."""
    return self._ends[-1]

  def order(self, stream: int) -> grain.MapDataset:
    """Return an endless stream of record ids, see `draws`."""
    if not self._weights:
      return record_order(len(self), stream)
    return weighted_order([len(part) for part in self._parts], self._weights, stream)

  def crop(
    self, record: int, length: int, generator: np.random.Generator
  ) -> tuple[int, Segment]:
    """Read `length` successive samples of a segment, starting at a random one.

    Returns:
      the id of the record that was read, another one where the given one is damaged,
      and the samples.

    Raises:
      RecordError: more records are damaged than may be.
    """
    for _ in range(_TRIES):
      part, number = self._locate(record)
      source = self._parts[part]
      start = int(generator.integers(source.num_samples - length + 1))
      try:
        return record, source.read(number, start, length)
      except RecordError as error:
        self._damage.note(record, error)
        failed = error
      first = self._ends[part] - len(source)
      record = first + int(generator.integers(len(source)))
    raise failed

  def track(self, record: int) -> tuple[int, str]:
    """Return what tells tracks apart: the number of the folder, and the name.

    Raises:
      RecordError: the record is damaged.
    """
    part, number = self._locate(record)
    return part, self._parts[part].place(number).track

  def folder(self, record: int) -> int:
    """Return the number of the folder of a record."""
    return self._locate(record)[0]

  def _locate(self, record: int) -> tuple[int, int]:
    if not 0 <= record < len(self):
      raise IndexError(f"record {record} of {len(self)}")
    part = bisect.bisect_right(self._ends, record)
    return part, record - (self._ends[part] - len(self._parts[part]))


def open_sources(
  folders: Path | Sequence[Path],
  split: str,
  source: str,
  seconds: float,
  sample_rate: int,
  weights: Sequence[float] = (),
  max_damaged: float = 0.0,
) -> Sources:
  """Open a source in one or several folders and check it against the configuration.

  Raises:
    UserError: `open_shards` fails, the sample rate differs, the segments are shorter
      than the crop, or the folders have different channels.
  """
  several = [folders] if isinstance(folders, str | Path) else list(folders)
  parts = [open_shards(Path(folder), split, source) for folder in several]
  for folder, part in zip(several, parts, strict=True):
    manifest = part.manifest
    if manifest.sample_rate != sample_rate:
      raise UserError(
        f"{folder}: holds audio at {manifest.sample_rate} Hz, but the configuration"
        f" asks for {sample_rate} Hz; change the configuration or prepare the data"
        " again"
      )
    if not 0 < seconds <= manifest.seconds:
      raise UserError(
        f"{folder}: cannot crop {seconds:g} s from segments of {manifest.seconds:g} s;"
        " change the crop of the configuration or prepare longer segments"
      )
    if manifest.num_channels != parts[0].manifest.num_channels:
      raise UserError(
        f"{folder} holds audio of {manifest.num_channels} channels, {several[0]} of"
        f" {parts[0].manifest.num_channels}; prepare one of them again"
      )
  return Sources(parts, weights, max_damaged)
