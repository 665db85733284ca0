"""Two evaluations of the same songs: paired differences, with intervals.

Songs differ from each other far more than two systems do. Differences within each song
leave that out: the same draws of songs serve both sides of the bootstrap.
"""

import csv
import dataclasses
import io
import math
from typing import Any

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.evaluation.intervals import bootstrap
from mixit_jax.evaluation.results import Evaluation, plain
from mixit_jax.evaluation.scores import SCORES
from mixit_jax.evaluation.summaries import CONVENTIONS, summary_of


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Scores of two evaluations where both have one.

  Attributes:
    stems: the N stems that both have.
    songs: names of the songs that both have.
    tables: score to dB of the first and the second [2, songs, N]; NaN in both where
      one has none.
    only: names of songs that the first or the second alone has.
  """

  stems: tuple[str, ...]
  songs: tuple[str, ...]
  tables: dict[str, np.ndarray]
  only: tuple[tuple[str, ...], tuple[str, ...]]

  def to_dict(self) -> dict[str, Any]:
    """Return summaries and differences, ready for JSON; in dB."""
    return plain(
      {
        "differences": {
          score: dict(
            zip([*self.stems, "average"], self._differences(score), strict=True)
          )
          for score in SCORES
        },
        "songs": list(self.songs),
        "only_first": list(self.only[0]),
        "only_second": list(self.only[1]),
      }
    )

  def to_csv(self) -> str:
    """Return a row for each song and stem: first, second and difference in dB."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    sides = ("first", "second", "difference")
    header = [f"{score}_{side}" for score in SCORES for side in sides]
    writer.writerow(["song", "stem", *header])
    for i, song in enumerate(self.songs):
      for n, stem in enumerate(self.stems):
        cells = []
        for score in SCORES:
          first, second = self.tables[score][:, i, n]
          cells += [first, second, float(_minus(first, second))]
        shown = ["" if math.isnan(value) else f"{value:.4f}" for value in cells]
        writer.writerow([song, stem, *shown])
    return text.getvalue()

  def _differences(self, score: str) -> list[dict[str, Any]]:
    """Compare each stem, and last the average over the stems."""
    how, (first, second) = CONVENTIONS[score], self.tables[score]
    count = len(self.stems)

    def summary(pairs: np.ndarray) -> np.ndarray:
      return _minus(*(summary_of(how, side) for side in np.split(pairs, 2, axis=-1)))

    pairs = np.concatenate([first, second], axis=1)
    sides = [summary_of(how, table[None])[0] for table in (first, second)]
    ends = bootstrap(summary, pairs)
    by_song = _minus(first, second)
    by_song = np.concatenate([by_song, by_song.mean(axis=1, keepdims=True)], axis=1)
    rows = []
    for n in range(count + 1):
      column = by_song[:, n]
      rows.append(
        {
          "first": float(sides[0][n]),
          "second": float(sides[1][n]),
          "difference": float(_minus(sides[0][n], sides[1][n])),
          "interval": ends[:, n].tolist(),
          "songs": int(np.count_nonzero(~np.isnan(column))),
          "second_better": int(np.count_nonzero(column > 0)),
        }
      )
    return rows


def compare(first: Evaluation, second: Evaluation) -> Comparison:
  """Pair the songs and stems that two evaluations have in common.

  Raises:
    UserError: they have no song or no stem in common.
  """
  stems = tuple(stem for stem in first.stems if stem in second.stems)
  if not stems:
    raise UserError(
      f"nothing to compare: the stems are {', '.join(first.stems)} and"
      f" {', '.join(second.stems)}"
    )
  names = [[song.name for song in each.songs] for each in (first, second)]
  songs = tuple(name for name in names[0] if name in set(names[1]))
  if not songs:
    raise UserError("nothing to compare: no song of one is in the other")
  tables = {}
  for score in SCORES:
    both = []
    for each, names_of in zip((first, second), names, strict=True):
      rows = [names_of.index(name) for name in songs]
      columns = [each.stems.index(stem) for stem in stems]
      both.append(each.table(score)[np.ix_(rows, columns)])
    table = np.stack(both)
    tables[score] = np.where(np.isnan(table).any(axis=0), np.nan, table)
  only = tuple(
    tuple(name for name in names_of if name not in set(songs)) for names_of in names
  )
  return Comparison(stems, songs, tables, (only[0], only[1]))


def _minus(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Return second - first; none between two estimates without error."""
  with np.errstate(invalid="ignore"):
    return np.where(first == second, 0.0, second - first)
