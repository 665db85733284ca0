"""Means and paired 95 % intervals over songs and seeds, by the bootstrap.

Both songs and seeds are draws: others would have given other numbers. A resample draws
songs and seeds with replacement, each on its own, and takes the mean over all their
pairs (the "pigeonhole" bootstrap of crossed factors; Owen, Annals of Applied Statistics
1, 2007). Differences are taken within each song and seed first, so that what makes a
song hard or a seed lucky for both sides cancels.
"""

from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
_PERCENTILES = (2.5, 97.5)


class Estimate(NamedTuple):
  """A mean and how certain it is, in dB.

  Attributes:
    mean: over seeds and songs.
    low: lower end of the 95 % interval.
    high: upper end.
    spread: standard deviation of the seeds' means over songs; NaN for one seed.
    seeds: number of seeds.
    songs: number of songs.
  """

  mean: float
  low: float
  high: float
  spread: float
  seeds: int
  songs: int


def estimate(table: np.ndarray) -> Estimate:
  """Return mean and interval of scores or of paired differences [seeds, songs].

  The draws are those of a fixed seed: equal scores give equal intervals.

  Raises:
    ValueError: the table is empty or not finite.
  """
  if table.ndim != 2 or not table.size or not np.isfinite(table).all():
    raise ValueError(f"expected finite scores [seeds, songs], found {table.shape}")
  seeds, songs = table.shape
  random = np.random.default_rng(0)
  chosen_seeds = random.integers(seeds, size=(RESAMPLES, seeds))
  chosen_songs = random.integers(songs, size=(RESAMPLES, songs))
  # How often each is drawn: the mean of a resample is a product with both.
  seed_counts = _counts(chosen_seeds, seeds)
  song_counts = _counts(chosen_songs, songs)
  means = np.einsum("rs,sn,rn->r", seed_counts, table, song_counts) / table.size
  low, high = np.percentile(means, _PERCENTILES)
  spread = float(np.std(table.mean(axis=1), ddof=1)) if seeds > 1 else float("nan")
  return Estimate(float(table.mean()), float(low), float(high), spread, seeds, songs)


def _counts(draws: np.ndarray, size: int) -> np.ndarray:
  """Count how often each of `size` things was drawn in each row."""
  return (draws[:, :, None] == np.arange(size)).sum(axis=1).astype(float)
