"""Intervals of summaries over songs, by the bootstrap.

A summary of 50 songs would have come out differently with 50 others. The bootstrap
draws as many songs with replacement many times; 95 % of the summaries lie in the
interval (percentile method; Efron 1979). With fewer than about ten songs it is too
narrow.
"""

import warnings
from collections.abc import Callable

import numpy as np

RESAMPLES = 10_000
_PERCENTILES = (2.5, 97.5)
# Draws that are summarized together: bounds the memory for thousands of songs.
_BATCH = 1_000_000


def bootstrap(
  summary: Callable[[np.ndarray], np.ndarray],
  table: np.ndarray,
  resamples: int = RESAMPLES,
) -> np.ndarray:
  """Return the 95 % intervals of summaries over songs.

  The draws are those of a fixed seed: equal scores give equal intervals.

  Args:
    summary: of scores [R, songs, N], NaN where there is none, as [R, M + 1]: of the
      first M columns, and their mean.
    table: scores of the songs [songs, N].
    resamples: number of draws.

  Returns:
    lower and upper ends [2, M + 1]; NaN where fewer than two songs have a score.
  """
  songs = len(table)
  if songs < 2:
    return np.full((2, summary(table[None]).shape[1]), np.nan)
  random = np.random.default_rng(0)
  batch = max(1, _BATCH // table.size)
  found = []
  for first in range(0, resamples, batch):
    size = min(batch, resamples - first)
    found.append(summary(table[random.integers(songs, size=(size, songs))]))
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
    ends = np.nanpercentile(np.concatenate(found), _PERCENTILES, axis=0)
  few = (~np.isnan(table)).sum(axis=0) < 2
  stems = ends[:, :-1]  # the last is the mean over them
  stems[:, few[: stems.shape[1]]] = np.nan
  if np.isnan(stems).all():
    ends[:] = np.nan
  return ends
