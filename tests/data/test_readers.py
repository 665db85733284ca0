"""More shards than a process may have open files."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mixit_jax.data.readers import Readers
from mixit_jax.data.records import Manifest, write_shard

REPOSITORY = Path(__file__).parent.parent.parent
SHARDS = 10_000

# Opens a set and draws pairs; prints files that are open and how memory has grown.
_READ = """
import os, resource, sys
from pathlib import Path
from mixit_jax.data.mixtures import mixture_pairs
from mixit_jax.data.batches import host_batches

limit, folder = int(sys.argv[1]), Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(sys.argv[3]))]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
pairs = mixture_pairs(folder, "train", 0.15, 8000, 0)
batches = host_batches(pairs, 0, 16, threads=4)
before = peak()
for _ in range(60):
  next(batches)
opened = len(os.listdir("/proc/self/fd")) - len(taken)
batches.close()
print(opened, peak() - before)
"""


@pytest.fixture(scope="module")
def large_set(mixture_set, tmp_path_factory):
  """10,000 shards of five records, which are names of one file."""
  folder = tmp_path_factory.mktemp("large")
  (folder / "mixture").mkdir()
  shard = mixture_set / "mixture/train-00001-of-00003.arrayrecord"
  entries = []
  for number in range(SHARDS):
    file = f"mixture/train-{number:05d}-of-{SHARDS}.arrayrecord"
    os.link(shard, folder / file)
    entries.append({"file": file, "records": 5})
  Manifest(
    kind="fma",
    sample_rate=8000,
    seconds=0.25,
    hop_seconds=0.125,
    num_channels=2,
    codec="flac",
    splits={"train": {"mixture": entries}},
  ).save(folder)
  return folder


def _read(folder, limit, taken=0):
  return subprocess.run(
    [sys.executable, "-c", _READ, str(limit), str(folder), str(taken)],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
  )


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_ten_thousand_shards_need_few_files_and_little_memory(large_set):
  result = _read(large_set, 256)
  assert result.returncode == 0, result.stderr
  opened, grown = map(int, result.stdout.split())
  assert opened < 160
  assert grown < 64  # MiB


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_limit_that_is_too_low_is_named(large_set):
  result = _read(large_set, 256, taken=200)
  assert result.returncode == 1
  words = "this process has 256 open, as many as it may; raise the limit"
  assert words in result.stderr
  assert "damaged" not in result.stderr


def test_the_least_recently_used_shard_is_closed(tmp_path):
  paths = [tmp_path / f"{number}" for number in range(5)]
  for number, path in enumerate(paths):
    write_shard(path, [f"{number}.{record}".encode() for record in range(20)])
  readers = Readers(most=2)
  order = np.random.default_rng(0).integers((5, 20), size=(400, 2))

  def read(pair):
    return readers.read(paths[pair[0]], int(pair[1])).decode()

  with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(read, order))
  assert found == [f"{shard}.{record}" for shard, record in order]
  assert len(readers._shards) == 2
