"""Labeled music: dynamic mixing of single stems."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import grain
import numpy as np

from mixit_jax.audio.pcm import to_float32
from mixit_jax.data.draws import random_generator, stream_seed
from mixit_jax.data.sources import open_sources
from mixit_jax.errors import UserError

# Below this (-100 dB) a crop is silence and is not made louder.
_MIN_LEVEL = 1e-5

Level = Literal["rms", "mean_abs"]
_LEVELS: dict[str, Callable[[np.ndarray], float]] = {
  "rms": lambda crop: float(np.sqrt(np.mean(np.square(crop, dtype=np.float64)))),
  "mean_abs": lambda crop: float(np.mean(np.abs(crop), dtype=np.float64)),
}

# Record id of a stem that was dropped.
DROPPED = -1


def dynamic_mixes(
  folders: Path | Sequence[Path],
  split: str,
  stems: Sequence[str],
  seconds: float,
  sample_rate: int,
  seed: int,
  drop: float = 0.05,
  gain_db: float = 10.0,
  level: Level = "rms",
  weights: Sequence[float] = (),
  max_damaged: float = 0.0,
) -> grain.MapDataset:
  """Return an endless stream of random mixes of stems (paper section 4.2).

  The stems of a mix are drawn independently: each stem runs through its segments in an
  order of its own, all of them once per epoch of that stem. A segment is cropped at
  random, normalized to a level of 1 and scaled by a random gain. Each stem is dropped
  (silent) with probability `drop`, but never all of them. The mixture is the sum of
  the references, each multiplied by its gain, which happens on the device.

  Example i is a pure function of (seed, i) and of the data.

  Args:
    folders: prepared data with one source per stem, in one folder or several.
    split: "train", "valid" or "test".
    stems: the sources, in the order of the references.
    seconds: length of the crops.
    sample_rate: the rate in Hz the data must have.
    seed: seed of the run.
    drop: probability that a stem is silent, in [0, 1).
    gain_db: gains are uniform in [-gain_db, gain_db].
    level: what the gain is relative to: "rms", as the paper says, or "mean_abs", the
      mean of the absolute samples, as its implementation computes.
    weights: shares of several folders in each stem; none: by their hours of music.
    max_damaged: share of the records of a stem that may be damaged; another segment of
      the same folder is drawn in place of each.

  Returns:
    examples with
      references: crops of the stems, int16 [N, C, L], see `audio.pcm`;
      gains: what to multiply them by, 0 for a dropped stem, float32 [N];
      index: position in the stream, int64 [];
      records: ids of the records, each in its own stem, -1 for a dropped stem,
        int64 [N];
      damaged: how many segments were drawn in place of damaged ones, int64 [].

  Raises:
    UserError: the data is missing, damaged, or does not fit the arguments.
    RecordError: on reading, more records are corrupt than may be.
  """
  if not stems or len(set(stems)) != len(stems):
    raise UserError(f"stems: expected different names, found {list(stems)}")
  if not 0 <= drop < 1:
    raise UserError(f"drop: expected a probability below 1, found {drop:g}")
  if level not in _LEVELS:
    raise UserError(f"level: {level!r} is not one of {', '.join(_LEVELS)}")
  if gain_db < 0:
    raise UserError(f"gain_db: expected at least 0, found {gain_db:g}")
  sources = [
    open_sources(folders, split, stem, seconds, sample_rate, weights, max_damaged)
    for stem in stems
  ]
  channels = sources[0].num_channels
  length = round(seconds * sample_rate)
  draws = stream_seed(seed, "mixes", split)
  measure = _LEVELS[level]

  def load(index: int, records: tuple[int, ...]) -> dict[str, Any]:
    generator = random_generator(draws, index)
    kept = generator.random(len(stems)) >= drop
    kept[generator.integers(len(stems))] |= not kept.any()
    gains = 10 ** (generator.uniform(-gain_db, gain_db, len(stems)) / 20)
    references = np.zeros((len(stems), channels, length), np.int16)
    used = np.where(kept, records, DROPPED).astype(np.int64)
    for stem in np.flatnonzero(kept):
      used[stem], crop = sources[stem].crop(records[stem], length, generator)
      references[stem] = crop.audio
      gains[stem] /= max(measure(to_float32(crop.audio)), _MIN_LEVEL)
    return {
      "references": references,
      "gains": np.where(kept, gains, 0).astype(np.float32),
      "index": np.int64(index),
      "records": used,
      "damaged": np.int64(np.sum(kept & (used != records))),
    }

  orders = [
    source.order(stream_seed(seed, "order", split, stem))
    for stem, source in zip(stems, sources, strict=True)
  ]
  return grain.experimental.ZipMapDataset(orders).map_with_index(load)
