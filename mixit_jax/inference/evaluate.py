"""Scores of a separator, or of anybody's estimates, on whole songs (paper 4.3)."""

import hashlib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mixit_jax.data.ahead import ahead
from mixit_jax.data.song_streams import StreamedSong, open_song
from mixit_jax.data.songs import song_folders, stem_files
from mixit_jax.errors import UserError
from mixit_jax.evaluation.estimate_files import fingerprint
from mixit_jax.evaluation.results import Evaluation, SongResult
from mixit_jax.evaluation.song_scores import Plan, Quiet, Report, score_songs
from mixit_jax.inference.model import Model
from mixit_jax.stems import MIXTURE


def evaluate(
  model: Model,
  songs: Path,
  report: Report | None = None,
  jobs: int = 1,
  earlier: Mapping[str, SongResult] | None = None,
  written: Callable[[Evaluation], None] = lambda _: None,
) -> Evaluation:
  """Separate and score every song of a folder.

  Everything is a stream: memory does not grow with the length of the songs.

  Args:
    model: a separator whose outputs are stems.
    songs: folder of song folders with a file for each stem.
    report: told of each song.
    jobs: songs at a time; they share the devices.
    earlier: results that count as they are, if the files are still the same.
    written: called with the results so far after each song.

  Raises:
    UserError: the model's outputs have no names, or no song can be scored.
  """
  plan = model_plan(model, songs, jobs)
  return score_songs(plan, earlier or {}, report or Quiet(), written)


def model_plan(model: Model, songs: Path, jobs: int = 1) -> Plan:
  """Plan to separate and score the songs of a folder; see `evaluate`."""
  if model.weights.stems is None:
    raise UserError(
      f"the {model.config.num_sources} outputs of a pre-trained model have no names; "
      "fine-tune it, or let `mixit-jax select-channels` find which output is which stem"
    )
  stems = model.stems

  def opened(folder: Path) -> tuple[StreamedSong, Generator[np.ndarray, None, None]]:
    song = open_song(folder, stems, model.sample_rate, model.config.num_channels)
    return song, model.separate_blocks(ahead(song.mixture_blocks()), song.length)

  def files(folder: Path) -> str:
    return fingerprint([*stem_files(folder, [*stems, MIXTURE]).values()])

  return Plan(
    stems, song_folders(songs, stems), opened, files, _settings(model), max(1, jobs)
  )


def _settings(model: Model) -> dict[str, Any]:
  """Return what decides over the scores."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(model.weights.params):
    digest.update(np.ascontiguousarray(leaf).data)
  return {
    "weights_sha256": digest.hexdigest(),
    "stems": list(model.stems),
    "chunk_seconds": model.chunk_seconds,
    "hop_seconds": model.hop_seconds,
    "window": model.window,
    "precision": model.precision,
  }
