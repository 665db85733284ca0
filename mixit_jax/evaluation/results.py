"""Scores of songs: of each one, over all, and as documents."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.evaluation.intervals import bootstrap
from mixit_jax.evaluation.scores import SCORES
from mixit_jax.evaluation.summaries import CONVENTIONS, OVER_SONGS, summary_of
from mixit_jax.files import read_json, write_text

Scores = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class SongResult:
  """Scores of one song.

  Attributes:
    name: of its folder.
    estimates: dB of the estimates [N] by the name of the score, NaN where a stem is
      silent.
    mixture: the same with the unprocessed mixture in place of every estimate.
    seconds: length of the song.
    warnings: what looks wrong with the song.
    files: what its files were, to know them again.
  """

  name: str
  estimates: Scores
  mixture: Scores
  seconds: float
  warnings: tuple[str, ...] = ()
  files: str = ""


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Scores of every song.

  Attributes:
    stems: names of the N stems.
    songs: the songs that were scored.
    failed: why songs could not be scored, by their names; they count nowhere.
    unfinished: names of songs that are still to be scored.
    settings: what was evaluated, and how.
    seconds: wall time of the evaluation.
  """

  stems: tuple[str, ...]
  songs: tuple[SongResult, ...]
  failed: Mapping[str, str] = dataclasses.field(default_factory=dict)
  unfinished: tuple[str, ...] = ()
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  seconds: float = 0.0

  def table(self, score: str, kind: str = "estimates") -> np.ndarray:
    """Return a score of all songs [songs, N] in dB, of "estimates" or "mixture"."""
    rows = [getattr(song, kind)[score] for song in self.songs]
    return np.array(rows, float).reshape(len(rows), len(self.stems))

  def to_dict(self) -> dict[str, Any]:
    """Return the summaries over the songs and the table of songs, ready for JSON.

    Numbers are in dB; null is no score, "inf" that of an estimate without error.
    """
    estimates, mixture = self._summaries(), self._summaries("mixture")
    return plain(
      {
        "estimates": estimates,
        "mixture": mixture,
        "average_improvement_db": estimates["usdr_mdx"]["average"]
        - mixture["usdr_mdx"]["average"],
        "intervals": {score: self._intervals(score) for score in SCORES},
        "over_songs": {how: self._summaries(how=how) for how in OVER_SONGS},
        "counts": self._counts(),
        "silent": self.silent(),
        "songs": [self._song(song) for song in self.songs],
        "failed": dict(self.failed),
        "unfinished": list(self.unfinished),
        "settings": dict(self.settings),
        "seconds": self.seconds,
        "audio_seconds": sum(song.seconds for song in self.songs),
      }
    )

  def to_csv(self) -> str:
    """Return a row for each song and stem, with its scores and the mixture's in dB."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    kinds = ("estimates", "mixture")
    names = [*SCORES, *(f"mixture_{score}" for score in SCORES)]
    writer.writerow(["song", "stem", *names])
    for song in self.songs:
      for index, stem in enumerate(self.stems):
        values = [
          getattr(song, kind)[score][index] for kind in kinds for score in SCORES
        ]
        cells = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
        writer.writerow([song.name, stem, *cells])
    return text.getvalue()

  def silent(self) -> list[str]:
    """Return the stems that are silent in every song."""
    silent = np.isnan(self.table("usdr_mdx")).all(axis=0)
    return [stem for stem, none in zip(self.stems, silent, strict=True) if none]

  def _summaries(
    self, kind: str = "estimates", how: str | None = None
  ) -> dict[str, dict[str, float]]:
    """Summarize each score: stem to dB, and the average over stems."""
    return {
      score: self._named(
        summary_of(how or CONVENTIONS[score], self.table(score, kind)[None])[0]
      )
      for score in SCORES
    }

  def _intervals(self, score: str) -> dict[str, list[float]]:
    ends = bootstrap(
      lambda tables: summary_of(CONVENTIONS[score], tables), self.table(score)
    )
    return self._named(ends.T)

  def _counts(self) -> dict[str, dict[str, int]]:
    """Count the songs that have a score, by score and stem."""
    return {
      score: {
        stem: int(count)
        for stem, count in zip(
          self.stems, (~np.isnan(self.table(score))).sum(axis=0), strict=True
        )
      }
      for score in SCORES
    }

  def _named(self, values: np.ndarray) -> dict[str, Any]:
    """Name what stands for the stems and their average [N + 1, ...]."""
    return dict(zip([*self.stems, "average"], values.tolist(), strict=True))

  def _song(self, song: SongResult) -> dict[str, Any]:
    def by_stem(scores: Scores) -> dict[str, dict[str, float]]:
      return {
        score: dict(zip(self.stems, np.asarray(values).tolist(), strict=True))
        for score, values in scores.items()
      }

    return {
      "name": song.name,
      **by_stem(song.estimates),
      "mixture": by_stem(song.mixture),
      "seconds": song.seconds,
      "warnings": list(song.warnings),
      "files": song.files,
    }


def read_evaluation(file: Path) -> Evaluation:
  """Read what `Evaluation.to_dict` has made.

  Raises:
    UserError: the file is missing or is not such a document.
  """
  document = read_json(file)
  try:
    stems = tuple(
      name for name in document["estimates"]["usdr_mdx"] if name != "average"
    )
    songs = tuple(_read_song(song, stems) for song in document["songs"])
    return Evaluation(
      stems,
      songs,
      dict(document.get("failed", {})),
      tuple(document.get("unfinished", ())),
      dict(document.get("settings", {})),
      float(document.get("seconds", 0.0)),
    )
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise UserError(f"{file} is not what `mixit-jax evaluate --json` writes") from error


def earlier_results(file: Path, settings: Mapping[str, Any]) -> dict[str, SongResult]:
  """Return the songs that an interrupted evaluation has scored, by name.

  Args:
    file: its document, if there is one.
    settings: what is evaluated now, and how.

  Raises:
    UserError: the file is something else, or holds scores of something else.
  """
  if not file.exists():
    return {}
  try:
    earlier = read_evaluation(file)
  except UserError as error:
    raise UserError(f"{error}; --overwrite replaces it") from error
  for key in sorted({*settings, *earlier.settings}):
    found, wanted = earlier.settings.get(key), settings.get(key)
    if found != wanted:
      raise UserError(
        f"{file} holds scores with {key} {_short(found)}, now it is {_short(wanted)};"
        " --overwrite replaces them"
      )
  return {song.name: song for song in earlier.songs}


def _short(value: Any) -> str:
  text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
  return text if len(text) <= 100 else f"{text[:12]}…"


def write_csv(file: Path, text: str) -> None:
  """Write a table atomically, so that spreadsheets know its encoding."""
  write_text(file, text, "utf-8-sig" if not text.isascii() else "utf-8")


def _read_song(document: Mapping[str, Any], stems: Sequence[str]) -> SongResult:
  def scores(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    # "inf" is a number for NumPy, None is NaN.
    return {
      score: np.array([values[score][stem] for stem in stems], float)
      for score in SCORES
    }

  absent = {score: dict.fromkeys(stems) for score in SCORES}
  return SongResult(
    str(document["name"]),
    scores(document),
    scores(document.get("mixture", absent)),
    float(document.get("seconds", 0.0)),
    tuple(document.get("warnings", ())),
    str(document.get("files", "")),
  )


def plain(value: Any) -> Any:
  """Replace NaN with None and infinity with its name at any depth, as JSON needs it."""
  if isinstance(value, Mapping):
    return {key: plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None if math.isnan(value) else str(value)
  return value
