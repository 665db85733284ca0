"""Scores of a separator on whole songs (paper 4.3)."""

import dataclasses
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixit_jax.data.ahead import one_ahead
from mixit_jax.data.songs import Song, read_song, song_folders
from mixit_jax.errors import UserError, one_line
from mixit_jax.evaluation.scores import csdr, usdr
from mixit_jax.evaluation.summaries import summarize
from mixit_jax.files import nan_to_null
from mixit_jax.inference.model import Model

SCORES = ("usdr_mdx", "usdr_per_channel", "csdr")


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Scores of every song.

  Attributes:
    stems: names of the stems.
    songs: names of the songs.
    estimates: score name to dB of the estimates [songs, N]; NaN where a stem is silent.
    mixture: the same with the unprocessed mixture in place of every estimate.
    seconds: wall time of separation; reading and scoring of other songs run beside it.
    audio_seconds: length of all songs.
    failed: why songs could not be scored, by their names; they count nowhere.
  """

  stems: tuple[str, ...]
  songs: tuple[str, ...]
  estimates: dict[str, np.ndarray]
  mixture: dict[str, np.ndarray]
  seconds: float
  audio_seconds: float
  failed: dict[str, str] = dataclasses.field(default_factory=dict)

  def to_dict(self) -> dict[str, Any]:
    """Return the summary over the songs and the table of songs, ready for JSON."""
    estimates, mixture = self._summary(self.estimates), self._summary(self.mixture)
    improvement = estimates["usdr_mdx"]["average"] - mixture["usdr_mdx"]["average"]
    songs = [
      {"name": name}
      | {
        score: dict(zip(self.stems, table[i].tolist(), strict=True))
        for score, table in self.estimates.items()
      }
      for i, name in enumerate(self.songs)
    ]
    return nan_to_null(
      {
        "estimates": estimates,
        "mixture": mixture,
        "average_improvement_db": improvement,
        "songs": songs,
        "seconds": self.seconds,
        "audio_seconds": self.audio_seconds,
        "failed": self.failed,
      }
    )

  def _summary(self, tables: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Summarize each score over the songs: stem to dB, and the average over stems."""
    summary = {}
    for score, table in tables.items():
      values, average = summarize(score, table)
      summary[score] = {
        **dict(zip(self.stems, values, strict=True)),
        "average": average,
      }
    return summary


class _Separated(NamedTuple):
  """A song and the estimates [N, C, L] of its stems."""

  song: Song
  estimates: np.ndarray


def evaluate(
  model: Model, songs: Path, progress: Callable[[str], None] = lambda _: None
) -> Evaluation:
  """Separate and score every song of a folder.

  While a song is separated, the next one is read and the previous one is scored in
  other threads; at most one waits on either side. A song that cannot be scored is left
  out, and the others are scored.

  Args:
    model: a separator whose outputs are stems.
    songs: folder of song folders with a file for each stem.
    progress: called with the name of each song.

  Raises:
    UserError: the model's outputs have no names, or no song can be scored.
  """
  if model.weights.stems is None:
    raise UserError(
      f"the {model.config.num_sources} outputs of a pre-trained model have no names; "
      "fine-tune it, or let `mixit-jax select-channels` find which output is which stem"
    )
  folders = song_folders(songs, model.stems)
  rate, channels = model.sample_rate, model.config.num_channels
  seconds = audio_seconds = 0.0

  names: list[str] = []
  failed: dict[str, str] = {}

  def fail(name: str, error: Exception) -> None:
    failed[name] = one_line(error)
    progress(f"{name}: not scored: {failed[name]}")

  def read(folder: Path) -> Song | Exception:
    try:
      return read_song(folder, model.stems, rate, channels)
    except (UserError, OSError, MemoryError) as error:
      return error

  def separated() -> Generator[_Separated, None, None]:
    nonlocal seconds, audio_seconds
    with closing(one_ahead(read, folders)) as read_songs:
      for folder, song in zip(folders, read_songs, strict=True):
        if isinstance(song, Exception):
          fail(folder.name, song)
          continue
        progress(song.name)
        begun = time.perf_counter()
        try:
          estimates = model.separate_mixture(song.mixture)
        except UserError as error:
          fail(song.name, error)
          continue
        seconds += time.perf_counter() - begun
        audio_seconds += song.mixture.shape[-1] / rate
        names.append(song.name)
        yield _Separated(song, estimates)

  def score(one: _Separated) -> dict[str, dict[str, np.ndarray]]:
    unprocessed = np.broadcast_to(one.song.mixture[None], one.song.references.shape)
    return {
      "estimates": _scores(one.song, one.estimates, rate),
      "mixture": _scores(one.song, unprocessed, rate),
    }

  with closing(separated()) as results, closing(one_ahead(score, results)) as scored:
    rows = list(scored)
  if not rows:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
    raise UserError(f"no song of {songs} can be scored: {reasons}")
  tables = {
    kind: {name: np.stack([row[kind][name] for row in rows]) for name in SCORES}
    for kind in ("estimates", "mixture")
  }
  return Evaluation(
    model.stems,
    tuple(names),
    tables["estimates"],
    tables["mixture"],
    seconds,
    audio_seconds,
    failed,
  )


def _scores(
  song: Song, estimates: np.ndarray, sample_rate: int
) -> dict[str, np.ndarray]:
  return {
    "usdr_mdx": usdr(song.references, estimates),
    "usdr_per_channel": usdr(song.references, estimates, convention="per_channel"),
    "csdr": csdr(song.references, estimates, sample_rate),
  }
