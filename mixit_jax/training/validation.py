"""Validation: the loss on fixed examples, and scores of whole songs.

Each host validates its share on its own devices, with fixed shapes, every example and
every song exactly once; only the results travel between hosts.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mixit_jax.data.ahead import one_ahead
from mixit_jax.data.batches import host_batches
from mixit_jax.data.mixtures import mixture_pairs
from mixit_jax.data.songs import Song, find_songs, read_song, song_chunks
from mixit_jax.objectives.scores import csdr, usdr
from mixit_jax.separator.bs_locoformer import Separator
from mixit_jax.separator.chunked import separate_long
from mixit_jax.separator.compiled import chunk_separator
from mixit_jax.training.config import Config, MeshConfig
from mixit_jax.training.losses import make_loss
from mixit_jax.training.mesh import batch_sharding, make_mesh, replicated
from mixit_jax.training.state import Params
from mixit_jax.training.steps import make_valid_step

# The same validation examples for every run on the same data.
_VALID_SEED = 0

Batch = dict[str, np.ndarray]


class Validator:
  """Validation of one run, compiled once."""

  def __init__(self, config: Config, separator: Separator):
    """Finds the validation data.

    Raises:
      UserError: there is none, or it does not fit the configuration.
    """
    self._config = config
    self._separator = separator
    self._mesh = make_mesh(MeshConfig(), jax.local_devices())
    self._step = jax.jit(make_valid_step(make_loss(separator, config.objective)))
    run = config.run
    per_device = max(1, run.batch // run.accumulation // jax.device_count())
    self._batch = per_device * jax.local_device_count()
    if config.objective.kind == "mixit":
      self._songs: list[Path] = []
      self._pairs = mixture_pairs(
        Path(config.data.shards),
        "valid",
        config.data.seconds,
        config.model.sample_rate,
        _VALID_SEED,
      )
    else:
      self._songs = find_songs(valid_songs_folder(config), config.data.stems)

  def loss(
    self, params: Params, check: Callable[[], None] = lambda: None
  ) -> dict[str, Any]:
    """Mean loss and metrics over the validation examples.

    Args:
      params: parameters whole on the local devices, see `local_copy`.
      check: called before each batch; what it raises ends the validation.
    """
    # A host without a song must still add its zeros.
    sums: dict[str, Any] = {"loss": np.zeros(()), "weight": np.zeros(())}
    sharding = batch_sharding(self._mesh)
    for batch, weights in self._batches():
      check()
      part = self._step(
        params, jax.device_put(batch, sharding), jax.device_put(weights, sharding)
      )
      for name, value in part.items():
        sums[name] = sums.get(name, 0.0) + np.asarray(value, np.float64)
    sums = _sum_over_hosts(sums)
    weight = sums.pop("weight")
    return {name: value / weight for name, value in sums.items()}

  def scores(
    self, params: Params, check: Callable[[], None] = lambda: None
  ) -> dict[str, Any]:
    """uSDR and cSDR of whole validation songs (paper 4.3), median or mean over songs.

    Args:
      params: parameters whole on the local devices, see `local_copy`.
      check: called before each batch of chunks; what it raises ends the validation.

    Returns:
      `usdr/<stem>` and `csdr/<stem>` in dB, and their means over the stems.
    """
    config = self._config
    rate = config.model.sample_rate
    separate = chunk_separator(self._separator, params, self._mesh)
    stems = len(config.data.stems)
    table = np.zeros((2, len(self._songs), stems))

    def checked(chunks: np.ndarray) -> jax.Array:
      check()
      return separate(chunks)

    for i, song in self._local_songs():
      estimates = separate_long(
        checked,
        song.mixture,
        round(config.valid.chunk_seconds * rate),
        round(config.valid.hop_seconds * rate),
        batch=self._batch,
      )
      table[0, i] = usdr(song.references, estimates)
      table[1, i] = csdr(song.references, estimates, rate)
    table = _sum_over_hosts({"table": table})["table"]
    return score_summary(table[0], table[1], config.data.stems)

  def example(self, params: Params, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A validation mixture [C, L] and its estimates [N, C, L], for listening."""
    if self._songs:
      song = self._read(self._songs[index % len(self._songs)])
      chunks = list(song_chunks(song, *(self._config.example_samples,) * 2))
      mixture = chunks[len(chunks) // 2][1]
    else:
      mixture = self._pairs[index]["segments"].sum(axis=0)
    separate = chunk_separator(self._separator, params, self._mesh)
    batch = np.repeat(mixture[None], self._batch, axis=0)
    return mixture, np.asarray(separate(batch))[0]

  def _batches(self) -> Iterator[tuple[Batch, np.ndarray]]:
    """This host's validation batches, each with the weights of its examples."""
    if not self._songs:
      yield from self._pair_batches()
      return
    rows: list[np.ndarray] = []
    for _, song in self._local_songs():
      for references, _ in song_chunks(song, *(self._config.example_samples,) * 2):
        rows.append(references)
        if len(rows) == self._batch:
          yield _padded(rows, self._batch)
          rows = []
    if rows:
      yield _padded(rows, self._batch)

  def _pair_batches(self) -> Iterator[tuple[Batch, np.ndarray]]:
    hosts, examples = jax.process_count(), self._config.valid.examples
    batches = host_batches(
      self._pairs,
      0,
      self._batch * hosts,
      jax.process_index(),
      hosts,
      self._config.data.threads,
      self._config.data.buffer,
    )
    for _ in range(math.ceil(examples / (self._batch * hosts))):
      batch = next(batches)
      weights = (batch["index"] < examples).astype(np.float32)
      yield {k: batch[k] for k in ("segments", "ratio_db")}, weights

  def _local_songs(self) -> Iterator[tuple[int, Song]]:
    """This host's songs with their numbers, the next one read ahead."""
    mine = range(jax.process_index(), len(self._songs), jax.process_count())
    songs = one_ahead(lambda i: self._read(self._songs[i]), mine)
    return zip(mine, songs, strict=True)

  def _read(self, folder: Path) -> Song:
    model = self._config.model
    return read_song(
      folder, self._config.data.stems, model.sample_rate, model.num_channels
    )


def valid_songs_folder(config: Config) -> Path:
  """Folder of the whole validation songs."""
  return Path(config.data.songs or Path(config.data.shards) / "valid")


def local_copy(params: Params, mesh: Mesh) -> Params:
  """Parameters whole on the devices of this host; every host must call it."""
  whole = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(params)
  local = replicated(make_mesh(MeshConfig(), jax.local_devices()))
  if jax.process_count() == 1:
    return jax.device_put(whole, local)
  return jax.tree.map(
    lambda x: jax.device_put(np.asarray(x.addressable_data(0)), local), whole
  )


def score_summary(
  usdr_table: np.ndarray, csdr_table: np.ndarray, stems: tuple[str, ...]
) -> dict[str, float]:
  """Scores of a set of songs from those of each song [songs, N].

  uSDR is the mean, cSDR the median over songs (reference: MDX21 and BSS Eval v4);
  songs without a value, such as those whose stem is silent, are left out.
  """
  summary = {}
  for name, table, over_songs in (
    ("usdr", usdr_table, np.nanmean),
    ("csdr", csdr_table, np.nanmedian),
  ):
    values = [
      float(over_songs(column)) if np.isfinite(column).any() else math.nan
      for column in np.where(np.isfinite(table), table, np.nan).T
    ]
    summary.update({f"{name}/{stem}": v for stem, v in zip(stems, values, strict=True)})
    summary[name] = float(np.mean(values))
  return summary


def _padded(rows: list[np.ndarray], batch: int) -> tuple[Batch, np.ndarray]:
  weights = (np.arange(batch) < len(rows)).astype(np.float32)
  return {"references": np.stack(rows + rows[:1] * (batch - len(rows)))}, weights


def _sum_over_hosts(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  if jax.process_count() == 1:
    return values
  gathered = multihost_utils.process_allgather(values)
  return jax.tree.map(lambda x: np.sum(x, axis=0), gathered)
