"""Which outputs of a pre-trained model the stems of a fine-tuning begin with."""

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from mixit_jax.audio.pcm import to_float32
from mixit_jax.evaluation.channels import SELECTION_FILE, vote_channels, write_choice
from mixit_jax.evaluation.selection import separated_chunks, separated_songs
from mixit_jax.evaluation.sums import SUMS_FILE, fit_sums
from mixit_jax.separator.compiled import SeparateChunks, chunk_separator
from mixit_jax.training.dataset import load_manifests
from mixit_jax.training.objectives import Objective
from mixit_jax.weights.folder import Weights

# So much of every stem in the training data counts as one song more, up to a number.
_SONG_SECONDS = 180
_MOST_SONGS = 16
# Dynamic mixes that stand for it.
_MIXES = 32

_Chunks = Iterator[tuple[np.ndarray, np.ndarray]]


def choose_outputs(objective: Objective, weights: Weights, workdir: Path) -> np.ndarray:
  """Choose weights of a model's outputs for each stem; a selection has ones.

  As in the paper, one output is selected for each stem, by votes of the validation
  songs (`channel_selection.json`). Where the model to train has `num_masks`, all are
  summed up instead (`output_sums.json`), and training data counts as well: weights that
  are fitted to validation songs alone would make the validation prefer the first
  checkpoints. Process 0 chooses, and tells the others.

  Args:
    objective: of the fine-tuning, its validation open.
    weights: of the pre-trained model, with M outputs.
    workdir: where the choice is stored.

  Returns:
    weights for the N stems: [N, M] of a selection, of sums for each of K bands,
    [N, M, K].

  Raises:
    UserError: a song or record cannot be read, or a stem never sounds.
  """
  assert objective.stems is not None
  model, stems = weights.config, objective.stems
  summed = objective.model.num_masks > 0
  bands = (len(model.bands),) if summed else ()
  chosen = np.zeros((len(stems), model.num_sources, *bands))
  if jax.process_index() == 0:
    init = objective.config.init
    logging.info("choosing outputs of %s for %s", init.run, ", ".join(stems))
    separate = chunk_separator(model, weights.params)
    songs = separated_songs(
      separate, model, objective.valid_songs, stems, init.select_seconds
    )
    if summed:
      every = chain(songs, _separated_mixes(separate, objective))
      sums = fit_sums(every, stems, model)
      write_choice(workdir / SUMS_FILE, sums, weights.card)
      chosen[:] = sums.sums
    else:
      selection = vote_channels(chain.from_iterable(songs), stems)
      write_choice(workdir / SELECTION_FILE, selection, weights.card)
      chosen[np.arange(len(stems)), selection.outputs] = 1
  if jax.process_count() > 1:
    chosen = np.asarray(multihost_utils.broadcast_one_to_all(chosen))
  return chosen


def _separated_mixes(
  separate: SeparateChunks, objective: Objective
) -> Iterator[_Chunks]:
  """Yield stems and outputs of the first training mixes, in place of songs.

  Training data holds stems apart and without their pauses: its songs are gone.
  """
  mixes = objective.examples()
  for song in range(_training_songs(objective)):
    numbers = range(song * _MIXES, (song + 1) * _MIXES)
    yield separated_chunks(separate, (_mix(mixes[number]) for number in numbers))


def _mix(example: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Return stems [N, C, L] and mixture [C, L] of a dynamic mix."""
  references = to_float32(example["references"]) * example["gains"][:, None, None]
  return references, references.sum(axis=0)


def _training_songs(objective: Objective) -> int:
  """Return how many songs the training data counts as."""
  assert objective.stems is not None
  seconds = sum(
    shard["records"] * manifest.hop_seconds / len(objective.stems)
    for folder, manifest in load_manifests(objective.config)
    for stem in objective.stems
    for shard in manifest.shards(folder, "train", stem)
  )
  return min(max(round(seconds / _SONG_SECONDS), 1), _MOST_SONGS)
