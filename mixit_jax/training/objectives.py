"""The two objectives of a run, each with all that differs between them.

`Pretraining` learns from unlabeled mixtures by MixIT, `Finetuning` from stems. Loop,
steps, validation, telemetry and doctor take either, and never ask which one it is.
Grain and audio files are imported where data is read: the step needs neither.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from mixit_jax.audio.pcm import to_float32
from mixit_jax.devices.mesh import batch_sharding
from mixit_jax.devices.platforms import platform_of
from mixit_jax.separator.outputs import output_names
from mixit_jax.training.config import Config
from mixit_jax.training.dataset import load_manifests
from mixit_jax.training.losses import (
  Losses,
  PairBatch,
  StemBatch,
  finetuning_loss,
  pretraining_loss,
)
from mixit_jax.training.state import Params

if TYPE_CHECKING:
  import grain

  from mixit_jax.data.batches import HostBatches
  from mixit_jax.data.songs import Song

Batch = PairBatch | StemBatch
HostBatch = Mapping[str, np.ndarray]
_Array = tuple[tuple[int, ...], Any]

# The same validation examples for every run on the same data.
_VALID_SEED = 0


class ValidBatch(NamedTuple):
  """A validation batch of fixed size.

  Attributes:
    batch: the examples.
    mask: 1 for each example, or 0 for padding [B].
  """

  batch: Batch
  mask: np.ndarray


class Objective(ABC):
  """What a run minimizes, on which examples, and what validates it.

  Attributes:
    config: of the run.
    model: configuration of the separator, settled for the platform of the run.
    batch_type: named tuple of what a step needs of its examples.
    stems: names of the stems that the outputs are, or None.
    valid_songs: folders of the songs that are scored as a whole.
  """

  batch_type: type[Batch]

  def __init__(self, config: Config, mesh: Mesh):
    self.config = config
    self.model = config.model.settled(platform_of(mesh), training=True)
    self.stems: tuple[str, ...] | None = None
    self.valid_songs: list[Path] = []

  @property
  def outputs(self) -> tuple[str, ...]:
    """Names of the model's outputs; numbers where they are no stems."""
    return self.stems or output_names(self.model.num_sources)

  @abstractmethod
  def loss(self, params: Params, batch: Any, dropout_keys: Array | None) -> Losses:
    """Compute the loss of each example; pure."""

  @abstractmethod
  def examples(self) -> "grain.MapDataset":
    """Open the endless stream of training examples.

    Raises:
      UserError: `data.shards` is missing, damaged or does not fit the configuration.
    """

  @abstractmethod
  def open_validation(self) -> None:
    """Find the validation data.

    Raises:
      UserError: it is missing, or does not fit the configuration.
    """

  def check_validation(self) -> None:
    """Read this host's validation songs once: a broken one ends a run at its start.

    Raises:
      UserError: a song cannot be read, or its stems are of unequal length.
    """
    for _ in local_songs(self):
      pass

  @abstractmethod
  def valid_batches(self, size: int) -> Iterator[ValidBatch]:
    """Yield this host's share of the validation, every example exactly once."""

  @abstractmethod
  def valid_mixture(self, index: int) -> np.ndarray:
    """Return a validation mixture [C, L], for listening."""

  def host_batches(
    self, examples: "grain.MapDataset", first_step: int, size: int | None = None
  ) -> "HostBatches":
    """Read this host's part of each batch of `size` examples, from a step on.

    Args:
      examples: the stream.
      first_step: the step that the first batch belongs to.
      size: examples of a batch on all hosts together; None takes `run.batch`.
    """
    from mixit_jax.data.batches import host_batches

    data = self.config.data
    return host_batches(
      examples,
      first_step,
      size or self.config.run.batch,
      jax.process_index(),
      jax.process_count(),
      data.threads,
      data.buffer,
    )

  def fingerprint(self) -> str:
    """Identify data and order: equal fingerprints give equal batches at every step."""
    from mixit_jax.data.batches import stream_fingerprint

    data = self.config.data
    mixed = {"weights": list(data.weights)} if len(data.folders) > 1 else {}
    return stream_fingerprint(
      [manifest for _, manifest in load_manifests(self.config)],
      seed=data.seed,
      seconds=data.seconds,
      batch=self.config.run.batch,
      **mixed,
      **self._mixing,
    )

  def batch(self, examples: HostBatch) -> Batch:
    """Take from examples what a step needs; records stay behind, for messages."""
    parts: dict[str, Any] = {name: examples[name] for name in self._arrays}
    parts["positions"] = examples["index"].astype(np.uint32)
    return self.batch_type(**parts)

  def batch_layout(self, mesh: Mesh) -> Batch:
    """Describe the batch of a step: shapes, types and shardings."""
    size, sharding = self.config.run.batch, batch_sharding(mesh)
    layout: dict[str, Any] = {
      name: jax.ShapeDtypeStruct((size, *shape), dtype, sharding=sharding)
      for name, (shape, dtype) in self._arrays.items()
    }
    layout["positions"] = jax.ShapeDtypeStruct((size,), jnp.uint32, sharding=sharding)
    return self.batch_type(**layout)

  def read_song(self, folder: Path) -> "Song":
    """Read a validation song with its stems."""
    from mixit_jax.data.songs import read_song

    model = self.model
    return read_song(
      folder, self.config.data.stems, model.sample_rate, model.num_channels
    )

  @property
  @abstractmethod
  def _arrays(self) -> dict[str, _Array]:
    """Shape and type of an example's arrays by their names, without its position."""

  @property
  def _mixing(self) -> dict[str, Any]:
    """What determines the examples besides data, seed, length and batch."""
    return {}

  @property
  def _audio(self) -> tuple[int, int]:
    """Channels and samples of an example."""
    return self.model.num_channels, self.config.example_samples

  def _folders(self, split: str) -> list[Path]:
    """Folders of the data; but for training, only those that have the split."""
    found = load_manifests(self.config)
    having = [folder for folder, manifest in found if split in manifest.splits]
    return having if having and split != "train" else [folder for folder, _ in found]


class Pretraining(Objective):
  """MixIT on mixtures of mixtures of unlabeled music (paper 3.1)."""

  batch_type = PairBatch

  def loss(
    self, params: Params, batch: PairBatch, dropout_keys: Array | None
  ) -> Losses:
    """Compute the loss of each example; pure."""
    objective = self.config.objective
    return pretraining_loss(self.model, objective, params, batch, dropout_keys)

  def examples(self) -> "grain.MapDataset":
    """Open the endless stream of pairs of segments."""
    return self._pairs("train", self.config.data.seed)

  def open_validation(self) -> None:
    """Open the validation pairs."""
    assert self._valid_pairs

  def valid_batches(self, size: int) -> Iterator[ValidBatch]:
    """Yield this host's share of the first `valid.examples` pairs."""
    count, total = self.config.valid.examples, size * jax.process_count()
    with closing(self.host_batches(self._valid_pairs, 0, total)) as batches:
      for examples in itertools.islice(batches, math.ceil(count / total)):
        mask = (examples["index"] < count).astype(np.float32)
        yield ValidBatch(self.batch(examples), mask)

  def valid_mixture(self, index: int) -> np.ndarray:
    """Return the sum of a validation pair."""
    return to_float32(self._valid_pairs[index]["segments"]).sum(axis=0)

  @cached_property
  def _valid_pairs(self) -> "grain.MapDataset":
    return self._pairs("valid", _VALID_SEED)

  def _pairs(self, split: str, seed: int) -> "grain.MapDataset":
    from mixit_jax.data.mixtures import mixture_pairs

    data = self.config.data
    folders = self._folders(split)
    weights = data.weights if len(folders) == len(data.folders) else ()
    rate = self.model.sample_rate
    return mixture_pairs(
      folders, split, data.seconds, rate, seed, weights, data.max_damaged
    )

  @property
  def _arrays(self) -> dict[str, _Array]:
    segments = (2, *self._audio)
    return {"segments": (segments, jnp.int16), "ratio_db": ((), jnp.float32)}


class Finetuning(Objective):
  """Supervised training on stems, from pre-trained or random parameters (paper 4.3)."""

  batch_type = StemBatch

  def __init__(self, config: Config, mesh: Mesh):
    super().__init__(config, mesh)
    self.stems = config.data.stems or None  # without data, nothing names them

  def loss(
    self, params: Params, batch: StemBatch, dropout_keys: Array | None
  ) -> Losses:
    """Compute the loss of each example; pure."""
    objective = self.config.objective
    return finetuning_loss(self.model, objective, params, batch, dropout_keys)

  def examples(self) -> "grain.MapDataset":
    """Open the endless stream of dynamic mixes."""
    from mixit_jax.data.stems import dynamic_mixes

    data = self.config.data
    return dynamic_mixes(
      self._folders("train"),
      "train",
      data.stems,
      data.seconds,
      self.model.sample_rate,
      data.seed,
      data.drop,
      data.gain_db,
      weights=data.weights,
      max_damaged=data.max_damaged,
    )

  def open_validation(self) -> None:
    """Find the validation songs."""
    from mixit_jax.data.songs import find_songs

    data = self.config.data
    folders = [Path(data.songs)]
    if not data.songs:
      inside = [folder / "valid" for folder in self._folders("train")]
      folders = [folder for folder in inside if folder.is_dir()] or inside[:1]
    self.valid_songs = [s for folder in folders for s in find_songs(folder, data.stems)]

  def valid_batches(self, size: int) -> Iterator[ValidBatch]:
    """Yield the chunks of this host's validation songs."""
    from mixit_jax.data.songs import song_chunks

    length = self.config.example_samples
    rows: list[np.ndarray] = []
    for _, song in local_songs(self):
      for references, _ in song_chunks(song, length, length):
        rows.append(references)
        if len(rows) == size:
          yield self._padded(rows, size)
          rows = []
    if rows:
      yield self._padded(rows, size)

  def valid_mixture(self, index: int) -> np.ndarray:
    """Return the chunk in the middle of a validation song."""
    from mixit_jax.data.songs import song_chunks

    length = self.config.example_samples
    song = self.read_song(self.valid_songs[index % len(self.valid_songs)])
    chunks = list(song_chunks(song, length, length))
    return chunks[len(chunks) // 2][1]

  def _padded(self, rows: list[np.ndarray], size: int) -> ValidBatch:
    """Fill a batch up with padding."""
    mask = (np.arange(size) < len(rows)).astype(np.float32)
    references = np.stack(rows + rows[:1] * (size - len(rows)))
    # Songs may have more than 16 bits: they travel as float32.
    gains = np.ones(references.shape[:2], np.float32)
    examples = {"index": np.arange(size), "references": references, "gains": gains}
    return ValidBatch(self.batch(examples), mask)

  @property
  def _arrays(self) -> dict[str, _Array]:
    count = self.model.num_sources
    stems = (count, *self._audio)
    return {"references": (stems, jnp.int16), "gains": ((count,), jnp.float32)}

  @property
  def _mixing(self) -> dict[str, Any]:
    data = self.config.data
    return {"stems": list(data.stems), "drop": data.drop, "gain_db": data.gain_db}


def make_objective(config: Config, mesh: Mesh) -> Objective:
  """Make the objective of a configuration, for the devices of a mesh."""
  kinds = {"mixit": Pretraining, "stems": Finetuning}
  return kinds[config.objective.kind](config, mesh)


def local_songs(objective: Objective) -> Iterator[tuple[int, "Song"]]:
  """Yield this host's validation songs with their numbers, the next one read ahead."""
  from mixit_jax.data.ahead import one_ahead

  songs = objective.valid_songs
  mine = range(jax.process_index(), len(songs), jax.process_count())
  read = one_ahead(lambda i: objective.read_song(songs[i]), mine)
  return zip(mine, read, strict=True)
