"""Random draws that are pure functions of a seed and a position in a stream.

No draw depends on state, so a stream can be entered at any position, by any number
of threads and hosts, and gives the same examples.
"""

import functools
import hashlib
import json
import sys
from pathlib import Path

import grain
import numpy as np

from mixit_jax.data.records import Segment, ShardSource, open_shards
from mixit_jax.errors import UserError


def stream_seed(seed: int, *names: str) -> int:
  """Return the seed of a stream, 64 bits hashed from the run's seed and names.

  Streams of neighboring seeds have nothing in common.
  """
  text = json.dumps([int(seed), *names])
  return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def random_generator(stream: int, index: int) -> np.random.Generator:
  """Return the generator of one position of a stream."""
  return np.random.default_rng((stream, index))


def record_order(num_records: int, stream: int) -> grain.MapDataset:
  """Return an endless stream of record ids in which every epoch holds each once.

  Every epoch has its own order. (Grain's shuffle seeds epoch e with seed + e, so that
  streams of neighboring seeds repeat each other, and takes milliseconds per record in
  sets of less than a hundred.)
  """

  @functools.lru_cache(maxsize=2)  # at a border, threads read from two epochs
  def epoch_order(epoch: int) -> np.ndarray:
    return random_generator(stream, epoch).permutation(num_records)

  def record(position: int) -> int:
    epoch, place = divmod(position, num_records)
    return int(epoch_order(epoch)[place])

  return grain.MapDataset.range(sys.maxsize).map(record)


def open_checked(
  folder: Path, split: str, source: str, seconds: float, sample_rate: int
) -> ShardSource:
  """Open shards and check them against the configuration.

  Raises:
    UserError: `open_shards` fails, the sample rate differs, or the segments are
      shorter than the crop.
  """
  shards = open_shards(folder, split, source)
  manifest = shards.manifest
  if manifest.sample_rate != sample_rate:
    raise UserError(
      f"{folder}: holds audio at {manifest.sample_rate} Hz, but the configuration asks"
      f" for {sample_rate} Hz; change the configuration or prepare the data again"
    )
  if not 0 < seconds <= manifest.seconds:
    raise UserError(
      f"{folder}: cannot crop {seconds:g} s from segments of {manifest.seconds:g} s;"
      " change the crop of the configuration or prepare longer segments"
    )
  return shards


def random_crop(
  shards: ShardSource, record: int, length: int, generator: np.random.Generator
) -> Segment:
  """Read `length` successive samples of a segment, starting at a random one."""
  return shards.read(
    record, int(generator.integers(shards.num_samples - length + 1)), length
  )
