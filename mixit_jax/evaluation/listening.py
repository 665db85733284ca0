"""Pages of scored songs: estimates beside their references, with their scores."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mixit_jax.data.song_streams import StreamedSong
from mixit_jax.evaluation.results import SongResult
from mixit_jax.page.song_page import (
  Captions,
  Fact,
  SongPage,
  Track,
  decibels,
  song_page,
)
from mixit_jax.stems import MIXTURE

_USDR = "SDR of the whole song, over channels and samples together."
_GAIN = "How much better than the unprocessed mixture, in uSDR."
_CSDR = "Median over seconds of the song, as in BSS Eval v4."


@contextlib.contextmanager
def scored_page(
  root: Path, song: StreamedSong, stems: Sequence[str]
) -> Iterator[SongPage]:
  """Write the page of a song to `root/<song>/index.html`.

  Yields:
    what takes the mixture, the N estimates and the N references [1 + 2 N, C, l].
  """
  tracks = [
    Track(MIXTURE, "mixture"),
    *(Track(stem, "stem") for stem in stems),
    *(Track(f"{stem} (reference)", "reference", stem) for stem in stems),
  ]
  folder = root / song.name
  layout = song.sample_rate, song.num_channels, song.length
  with song_page(folder, song.name, tracks, *layout) as page:
    yield page


def score_captions(result: SongResult, stems: Sequence[str], root: Path) -> Captions:
  """Return what the page of a song says of its scores.

  Args:
    result: scores of the song.
    stems: names of its stems.
    root: folder of the page that lists all songs.
  """
  usdr, csdr = result.estimates["usdr_mdx"], result.estimates["csdr"]
  gains = usdr - result.mixture["usdr_mdx"]
  facts = {
    stem: [
      *_fact("uSDR", usdr[i], _USDR),
      *_fact("gain", gains[i], _GAIN, "+"),
      *_fact("cSDR", csdr[i], _CSDR),
    ]
    for i, stem in enumerate(stems)
  }
  song = [
    *_fact("uSDR", _mean(usdr), "Mean over the stems."),
    *_fact("gain", _mean(gains), f"{_GAIN} Mean over the stems.", "+"),
    *(Fact("note", warning) for warning in result.warnings),
  ]
  return Captions(song, facts, overview=root)


def _mean(values: np.ndarray) -> float:
  there = values[~np.isnan(values)]
  return float(there.mean()) if len(there) else float("nan")


def _fact(label: str, value: float, meaning: str, sign: str = "-") -> list[Fact]:
  """Return a fact, or none where there is no score."""
  return [] if np.isnan(value) else [Fact(label, decibels(float(value), sign), meaning)]
