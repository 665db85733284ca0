"""Random draws that are pure functions of a seed and a position in a stream.

No draw depends on state, so a stream can be entered at any position, by any number
of threads and hosts, and gives the same examples.
"""

import functools
import hashlib
import itertools
import json
import sys
from collections.abc import Sequence

import grain
import numpy as np

# Positions in which each of several parts has its share.
_BLOCK = 1000


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


def weighted_order(
  sizes: Sequence[int], weights: Sequence[float], stream: int
) -> grain.MapDataset:
  """Return an endless stream of record ids in which parts have given shares.

  Each part runs through its records in an order of its own, all of them once per epoch
  of that part. In every block of 1,000 positions a part has its share, rounded, and at
  least one; where it lies in a block is drawn.

  Args:
    sizes: records of each part; ids count them one part after the other.
    weights: positive, one for each part.
    stream: seed of the stream.
  """
  counts = _shares(weights, _BLOCK)
  owners = np.repeat(np.arange(len(sizes)), counts)
  firsts = [0, *itertools.accumulate(sizes)]
  orders = [
    record_order(size, stream_seed(stream, "part", str(part)))
    for part, size in enumerate(sizes)
  ]
  blocks = stream_seed(stream, "blocks")

  @functools.lru_cache(maxsize=2)
  def block_order(block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return part, and number in it, of each position of a block."""
    order = random_generator(blocks, block).permutation(owners)
    ranks = np.zeros(_BLOCK, np.int64)
    for part, count in enumerate(counts):
      ranks[order == part] = np.arange(count)
    return order, ranks

  def record(position: int) -> int:
    block, place = divmod(position, _BLOCK)
    order, ranks = block_order(block)
    part = int(order[place])
    return firsts[part] + orders[part][block * counts[part] + int(ranks[place])]

  return grain.MapDataset.range(sys.maxsize).map(record)


def _shares(weights: Sequence[float], total: int) -> list[int]:
  """Divide a whole number by weights: at least one each, the largest rest first."""
  exact = np.asarray(weights, np.float64) / np.sum(weights) * total
  counts = np.maximum(np.floor(exact), 1).astype(np.int64)
  by_rest = np.argsort(counts - exact, kind="stable")
  for part in itertools.islice(itertools.cycle(by_rest), max(0, total - counts.sum())):
    counts[part] += 1
  while counts.sum() > total:  # some were raised to one
    counts[np.argmax(counts)] -= 1
  return [int(count) for count in counts]
