"""Scores of many songs as one number for each stem."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

# How each score is summarized over songs: uSDR by the mean (Music Demixing Challenge
# 2021), cSDR by the median (BSS Eval v4).
_OVER_SONGS: dict[str, Callable[[np.ndarray], Any]] = {
  "usdr": np.mean,
  "usdr_mdx": np.mean,
  "usdr_per_channel": np.mean,
  "csdr": np.median,
}


def summarize(score: str, table: np.ndarray) -> tuple[list[float], float]:
  """Summarize the scores of songs.

  Songs without a value, such as those whose stem is silent, are left out.

  Args:
    score: name of the score, which decides between mean and median over the songs.
    table: scores [songs, N] in dB, NaN where there is none.

  Returns:
    the value of each stem [N], NaN where no song has one, and the mean over the stems.
  """
  columns = [column[np.isfinite(column)] for column in table.T]
  over_songs = _OVER_SONGS[score]
  values = [float(over_songs(c)) if len(c) else math.nan for c in columns]
  return values, float(np.mean(values))
