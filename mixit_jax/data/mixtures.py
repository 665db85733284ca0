"""Unlabeled music: pairs of segments from which mixtures of mixtures are made."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grain
import numpy as np

from mixit_jax.data.draws import random_generator, stream_seed
from mixit_jax.data.encoding import RecordError
from mixit_jax.data.sources import Sources, open_sources

SOURCE = "mixture"
MAX_RATIO_DB = 5.0

# Draws made for a segment of another track; in a set of two equally long tracks all
# of them fail once in 65,536 times.
_REDRAWS = 16


def mixture_pairs(
  folders: Path | Sequence[Path],
  split: str,
  seconds: float,
  sample_rate: int,
  seed: int,
  weights: Sequence[float] = (),
  max_damaged: float = 0.0,
) -> grain.MapDataset:
  """Return an endless stream of pairs of segments (paper section 4.1).

  An epoch uses every segment once, in an order of its own. Each segment is cropped
  at random. The two segments of a pair come from different tracks: a second segment
  of the same track is replaced by one drawn from the whole set. Only in a set with
  almost no other track can a pair share one.

  Example i is a pure function of (seed, i) and of the data. Validation uses such
  examples too, from split "valid" with a fixed seed.

  Args:
    folders: prepared data with source "mixture", in one folder or several.
    split: "train", "valid" or "test".
    seconds: length of the crops.
    sample_rate: the rate in Hz the data must have.
    seed: seed of the run.
    weights: shares of several folders; none: by their hours of music.
    max_damaged: share of the records that may be damaged; another segment of the same
      folder is drawn in place of each.

  Returns:
    examples with
      segments: the two segments, int16 [2, C, L];
      ratio_db: power of the first over the second that the mixture of mixtures
        should have, uniform in [-5, 5] dB, float32 [];
      index: position in the stream, int64 [];
      records: ids of the records, int64 [2];
      damaged: how many segments were drawn in place of damaged ones, int64 [].

  Raises:
    UserError: the data is missing, damaged, or does not fit the arguments.
    RecordError: on reading, more records are corrupt than may be.
  """
  shards = open_sources(
    folders, split, SOURCE, seconds, sample_rate, weights, max_damaged
  )
  length = round(seconds * sample_rate)
  draws = stream_seed(seed, "pairs", split)

  def load(index: int, records: np.ndarray) -> dict[str, Any]:
    generator = random_generator(draws, index)
    ratio_db = generator.uniform(-MAX_RATIO_DB, MAX_RATIO_DB)
    drawn = [int(record) for record in records]
    first, one = shards.crop(drawn[0], length, generator)
    second, two = shards.crop(drawn[1], length, generator)
    damaged = (first != drawn[0]) + (second != drawn[1])
    track = shards.folder(first), one.track
    if (shards.folder(second), two.track) == track:
      another = _record_of_another_track(shards, track, second, generator)
      second, two = shards.crop(another, length, generator)
      damaged += second != another
    return {
      "segments": np.stack([one.audio, two.audio]),
      "ratio_db": np.float32(ratio_db),
      "index": np.int64(index),
      "records": np.array([first, second], np.int64),
      "damaged": np.int64(damaged),
    }

  order = shards.order(stream_seed(seed, "order", split, SOURCE))
  return order.batch(2).map_with_index(load)


def _record_of_another_track(
  shards: Sources, track: tuple[int, str], record: int, generator: np.random.Generator
) -> int:
  """Draw records until one is of another track; give up with `record`."""
  for drawn in generator.integers(len(shards), size=_REDRAWS):
    with suppress(RecordError):  # a damaged one is no other track
      if shards.track(int(drawn)) != track:
        return int(drawn)
  return record
