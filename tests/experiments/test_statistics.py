import numpy as np
import pytest

from experiments.small_scale.statistics import estimate


def test_equal_values_are_certain():
  found = estimate(np.full((3, 10), 1.5))
  assert (found.mean, found.low, found.high, found.spread) == (1.5, 1.5, 1.5, 0.0)
  assert (found.seeds, found.songs) == (3, 10)


def test_with_one_seed_the_interval_is_that_of_the_mean_over_songs():
  """Its ends are those of the normal distribution, for many songs."""
  songs = np.random.default_rng(0).normal(2, 3, (1, 200))
  found = estimate(songs)
  error = 1.96 * songs.std() / np.sqrt(200)
  assert found.low == pytest.approx(songs.mean() - error, abs=0.05)
  assert found.high == pytest.approx(songs.mean() + error, abs=0.05)
  assert np.isnan(found.spread)


def test_seeds_widen_the_interval_where_they_differ():
  songs = np.random.default_rng(0).normal(0, 1, (1, 12))
  alike = estimate(np.repeat(songs, 3, axis=0))
  apart = estimate(songs + np.array([[-2.0], [0.0], [2.0]]))
  assert alike.mean == pytest.approx(apart.mean)
  assert apart.high - apart.low > 2 * (alike.high - alike.low)
  assert apart.spread == pytest.approx(2.0)


def test_the_interval_is_that_of_all_resamples():
  """Two seeds and two songs have sixteen resamples, which can be listed."""
  table = np.array([[0.0, 1.0], [4.0, 9.0]])
  pairs = [(i, j) for i in range(2) for j in range(2)]
  means = [table[np.ix_(s, n)].mean() for s in pairs for n in pairs]
  found = estimate(table)
  assert (found.low, found.high) == (min(means), max(means))


def test_missing_scores_are_refused():
  with pytest.raises(ValueError, match="finite"):
    estimate(np.array([[1.0, np.nan]]))
