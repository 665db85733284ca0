"""The training examples of a run, and what identifies their order."""

from collections.abc import Iterator
from pathlib import Path

import grain
import jax
import numpy as np

from mixit_jax.data.batches import host_batches, stream_fingerprint
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.mixtures import mixture_pairs
from mixit_jax.data.stems import dynamic_mixes
from mixit_jax.errors import UserError
from mixit_jax.training.config import Config

Batch = dict[str, np.ndarray]


def open_dataset(config: Config) -> grain.MapDataset:
  """Endless stream of training examples for the configured objective.

  Raises:
    UserError: `data.shards` is missing, damaged or does not fit the configuration.
  """
  data, rate = config.data, config.model.sample_rate
  if not data.shards:
    raise UserError(
      "no training data: set --config.data.shards to a folder that data_prep wrote"
    )
  if config.objective.kind == "mixit":
    return mixture_pairs(Path(data.shards), "train", data.seconds, rate, data.seed)
  return dynamic_mixes(
    Path(data.shards),
    "train",
    data.stems,
    data.seconds,
    rate,
    data.seed,
    data.drop,
    data.gain_db,
  )


def data_fingerprint(config: Config) -> str:
  """Identifies data and order: equal fingerprints give equal batches at every step."""
  data = config.data
  mixing = {}
  if config.objective.kind == "stems":
    mixing = {"stems": list(data.stems), "drop": data.drop, "gain_db": data.gain_db}
  return stream_fingerprint(
    Manifest.load(Path(data.shards)),
    seed=data.seed,
    seconds=data.seconds,
    batch=config.run.batch,
    **mixing,
  )


def train_batches(
  dataset: grain.MapDataset, config: Config, first_step: int
) -> Iterator[Batch]:
  """This host's part of each batch, from a step on."""
  return host_batches(
    dataset,
    first_step,
    config.run.batch,
    jax.process_index(),
    jax.process_count(),
    config.data.threads,
    config.data.buffer,
  )


def device_part(batch: Batch) -> Batch:
  """What a step needs on the devices; the records stay behind for messages."""
  part = {name: value for name, value in batch.items() if name != "records"}
  return {**part, "index": part["index"].astype(np.uint32)}
