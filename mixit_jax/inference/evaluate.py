"""Scores of a separator on whole songs (paper 4.3)."""

import dataclasses
import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixit_jax.data.ahead import one_ahead
from mixit_jax.data.songs import Song, find_songs, read_song
from mixit_jax.errors import UserError
from mixit_jax.inference.model import Model
from mixit_jax.objectives.scores import csdr, usdr

# Each score of one song, and how songs are summed up: uSDR by the mean (MDX21), cSDR
# by the median (BSS Eval v4).
SCORES: dict[str, Callable[[np.ndarray], Any]] = {
  "usdr_mdx": np.mean,
  "usdr_per_channel": np.mean,
  "csdr": np.median,
}


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Scores of every song.

  Attributes:
    stems: names of the stems.
    songs: names of the songs.
    estimates: score name to dB of the estimates [songs, N]; NaN where a stem is silent.
    mixture: the same of the unprocessed mixture in place of every estimate.
    seconds: wall time of separation; reading and scoring of other songs run beside it.
    audio_seconds: length of all songs.
  """

  stems: tuple[str, ...]
  songs: tuple[str, ...]
  estimates: dict[str, np.ndarray]
  mixture: dict[str, np.ndarray]
  seconds: float
  audio_seconds: float

  def to_dict(self) -> dict[str, Any]:
    """Summary over the songs and the table of songs, ready for JSON."""
    estimates, mixture = self._summary(self.estimates), self._summary(self.mixture)
    improvement = estimates["usdr_mdx"]["average"] - mixture["usdr_mdx"]["average"]
    return {
      "estimates": _plain(estimates),
      "mixture": _plain(mixture),
      "average_improvement_db": _plain(improvement),
      "songs": [
        {
          "name": name,
          **{
            score: _plain(dict(zip(self.stems, table[i].tolist(), strict=True)))
            for score, table in self.estimates.items()
          },
        }
        for i, name in enumerate(self.songs)
      ],
      "seconds": self.seconds,
      "audio_seconds": self.audio_seconds,
    }

  def _summary(self, tables: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Score to stem to dB over the songs, and the average over the stems."""
    summary = {}
    for score, table in tables.items():
      columns = [column[np.isfinite(column)] for column in table.T]
      values = [float(SCORES[score](c)) if len(c) else math.nan for c in columns]
      summary[score] = dict(zip(self.stems, values, strict=True))
      summary[score]["average"] = float(np.mean(values))
    return summary


class _Separated(NamedTuple):
  """A song and the estimates [N, C, L] of its stems."""

  song: Song
  estimates: np.ndarray


def evaluate(
  model: Model, songs: Path, progress: Callable[[str], None] = lambda _: None
) -> Evaluation:
  """Separates and scores every song of a folder.

  While a song is separated, the next one is read and the one before is scored in other
  threads; no more than one waits on either side.

  Args:
    model: a separator whose outputs are stems.
    songs: folder of song folders with a file for each stem.
    progress: called with the name of each song.

  Raises:
    UserError: the model's outputs have no names, or songs are missing or incomplete.
  """
  if model.weights.stems is None:
    raise UserError(
      f"the {model.config.num_sources} outputs of a pre-trained model have no names; "
      "fine-tune it, or see which output is which stem with `mixit-jax select-channels`"
    )
  folders = find_songs(songs, model.stems)
  rate, channels = model.sample_rate, model.config.num_channels
  seconds = audio_seconds = 0.0

  def read(folder: Path) -> Song:
    return read_song(folder, model.stems, rate, channels)

  def separated() -> Generator[_Separated, None, None]:
    nonlocal seconds, audio_seconds
    with closing(one_ahead(read, folders)) as read_songs:
      for song in read_songs:
        progress(song.name)
        begun = time.perf_counter()
        estimates = model.separate_mixture(song.mixture)
        seconds += time.perf_counter() - begun
        audio_seconds += song.mixture.shape[-1] / rate
        yield _Separated(song, estimates)

  def score(one: _Separated) -> dict[str, dict[str, np.ndarray]]:
    unprocessed = np.broadcast_to(one.song.mixture[None], one.song.references.shape)
    return {
      "estimates": _scores(one.song, one.estimates, rate),
      "mixture": _scores(one.song, unprocessed, rate),
    }

  with closing(separated()) as results, closing(one_ahead(score, results)) as scored:
    rows = list(scored)
  tables = {
    kind: {name: np.stack([row[kind][name] for row in rows]) for name in SCORES}
    for kind in ("estimates", "mixture")
  }
  names = tuple(folder.name for folder in folders)
  return Evaluation(
    model.stems, names, tables["estimates"], tables["mixture"], seconds, audio_seconds
  )


def _scores(
  song: Song, estimates: np.ndarray, sample_rate: int
) -> dict[str, np.ndarray]:
  return {
    "usdr_mdx": usdr(song.references, estimates),
    "usdr_per_channel": usdr(song.references, estimates, convention="per_channel"),
    "csdr": csdr(song.references, estimates, sample_rate),
  }


def _plain(value: Any) -> Any:
  """JSON knows no NaN: None stands for it."""
  if isinstance(value, dict):
    return {key: _plain(item) for key, item in value.items()}
  return None if isinstance(value, float) and not math.isfinite(value) else value
