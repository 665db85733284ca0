"""Scores of many songs as one number for each stem."""

import warnings
from collections.abc import Callable

import numpy as np

# How each score is summarized over songs: uSDR by the mean (Music Demixing Challenge
# 2021), cSDR by the median (BSS Eval v4).
CONVENTIONS = {
  "usdr": "mean",
  "usdr_mdx": "mean",
  "usdr_per_channel": "mean",
  "csdr": "median",
}
OVER_SONGS: dict[str, Callable[..., np.ndarray]] = {
  "mean": np.nanmean,
  "median": np.nanmedian,
}
# The same where every song has a value, which is much faster.
_COMPLETE: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "median": np.median}


def summarize(score: str, table: np.ndarray) -> tuple[list[float], float]:
  """Summarize the scores of songs by their convention.

  Songs without a value, such as those whose stem is silent, are left out.

  Args:
    score: name of the score, which decides between mean and median over the songs.
    table: scores [songs, N] in dB, NaN where there is none.

  Returns:
    the value of each stem [N], NaN where no song has one, and the mean over the stems
    that have one.
  """
  *values, average = summary_of(CONVENTIONS[score], table[None])[0].tolist()
  return values, average


def summary_of(how: str, tables: np.ndarray) -> np.ndarray:
  """Summarize many tables at once.

  Args:
    how: "mean" or "median" over the songs.
    tables: scores [R, songs, N] in dB, NaN where there is none.

  Returns:
    values [R, N + 1]: of each stem, and last the mean over the stems; NaN where there
    is no value.
  """
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # no value at all: NaN
    functions = OVER_SONGS if np.isnan(tables).any() else _COMPLETE
    stems = functions[how](tables, axis=1)
    return np.concatenate([stems, np.nanmean(stems, axis=1, keepdims=True)], axis=1)
