"""Unlabeled music: pairs of segments from which mixtures of mixtures are made."""

from pathlib import Path
from typing import Any

import grain
import numpy as np

from mixit_jax.data.draws import (
  open_checked,
  random_crop,
  random_generator,
  record_order,
  stream_seed,
)
from mixit_jax.data.records import ShardSource

SOURCE = "mixture"
MAX_RATIO_DB = 5.0

# Draws made for a segment of another track; in a set of two equally long tracks all
# of them fail once in 65,536 times.
_REDRAWS = 16


def mixture_pairs(
  folder: Path, split: str, seconds: float, sample_rate: int, seed: int
) -> grain.MapDataset:
  """Return an endless stream of pairs of segments (paper section 4.1).

  An epoch uses every segment once, in an order of its own. Each segment is cropped
  at random. The two segments of a pair come from different tracks: a second segment
  of the same track is replaced by one drawn from the whole set. Only in a set with
  almost no other track can a pair share one.

  Example i is a pure function of (seed, i) and of the data. Validation uses such
  examples too, from split "valid" with a fixed seed.

  Args:
    folder: prepared data with source "mixture".
    split: "train", "valid" or "test".
    seconds: length of the crops.
    sample_rate: the rate in Hz the data must have.
    seed: seed of the run.

  Returns:
    examples with
      segments: the two segments, int16 [2, C, L];
      ratio_db: power of the first over the second that the mixture of mixtures
        should have, uniform in [-5, 5] dB, float32 [];
      index: position in the stream, int64 [];
      records: ids of the records, int64 [2].

  Raises:
    UserError: the data is missing, damaged, or does not fit the arguments.
    RecordError: on reading, a record is corrupt.
  """
  shards = open_checked(folder, split, SOURCE, seconds, sample_rate)
  length = round(seconds * sample_rate)
  draws = stream_seed(seed, "pairs", split)

  def load(index: int, records: np.ndarray) -> dict[str, Any]:
    generator = random_generator(draws, index)
    ratio_db = generator.uniform(-MAX_RATIO_DB, MAX_RATIO_DB)
    first, second = (int(record) for record in records)
    one = random_crop(shards, first, length, generator)
    two = random_crop(shards, second, length, generator)
    if two.track == one.track:
      second = _record_of_another_track(shards, one.track, second, generator)
      two = random_crop(shards, second, length, generator)
    return {
      "segments": np.stack([one.audio, two.audio]),
      "ratio_db": np.float32(ratio_db),
      "index": np.int64(index),
      "records": np.array([first, second], np.int64),
    }

  order = record_order(len(shards), stream_seed(seed, "order", split, SOURCE))
  return order.batch(2).map_with_index(load)


def _record_of_another_track(
  shards: ShardSource, track: str, record: int, generator: np.random.Generator
) -> int:
  """Draw records until one is of another track; give up with `record`."""
  for drawn in generator.integers(len(shards), size=_REDRAWS):
    if shards.place(drawn).track != track:
      return int(drawn)
  return record
