"""Scores of an evaluation for the model card, with intervals over the songs."""

from pathlib import Path
from typing import Any

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.evaluation.summaries import summarize
from mixit_jax.files import read_json
from mixit_jax.inference.evaluate import SCORES

_RESAMPLES = 1000


def card_scores(file: Path) -> dict[str, Any]:
  """Read what `mixit-jax evaluate --json` has written.

  The intervals hold 95 % of the values that 1000 sets of songs give, drawn with
  replacement from those that were scored (bootstrap percentiles).

  Returns:
    `songs`, what was scored, and `rows` with score, stem, value, low and high in dB.

  Raises:
    UserError: the file is not such a document.
  """
  document = read_json(file)
  try:
    songs = document["songs"]
    stems = list(songs[0][SCORES[0]])
    tables = {
      score: np.array([[song[score][stem] for stem in stems] for song in songs], float)
      for score in SCORES
    }
  except (KeyError, IndexError, TypeError, ValueError) as error:
    raise UserError(
      f"--scores={file} is not what `mixit-jax evaluate --json` writes"
    ) from error
  draws = np.random.default_rng(0).integers(len(songs), size=(_RESAMPLES, len(songs)))
  rows = []
  for score, table in tables.items():
    values = _summary(score, table)
    resampled = np.stack([_summary(score, table[draw]) for draw in draws])
    low, high = np.nanpercentile(resampled, (2.5, 97.5), axis=0)
    for stem, *numbers in zip([*stems, "average"], values, low, high, strict=True):
      if np.isnan(numbers).any():
        continue  # no song has this stem
      value, least, most = (round(float(number), 2) for number in numbers)
      row = {"score": score, "stem": stem, "value": value, "low": least, "high": most}
      rows.append(row)
  return {"songs": f"{len(songs)} songs", "rows": rows}


def _summary(score: str, table: np.ndarray) -> np.ndarray:
  per_stem, mean = summarize(score, table)
  return np.array([*per_stem, mean])
