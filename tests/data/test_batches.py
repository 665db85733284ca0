import shutil
import threading
import time
from itertools import islice
from pathlib import Path

import grain
import numpy as np
import pytest
from tiny_sets import STEMS

from mixit_jax.data.batches import host_batches, stream_fingerprint
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.mixtures import mixture_pairs
from mixit_jax.data.records import RecordError
from mixit_jax.data.stems import dynamic_mixes
from mixit_jax.errors import UserError

BATCH = 4
STEPS = 12  # 48 pairs: more than four epochs of the 21 mixtures


def _pairs(folder):
  return mixture_pairs(folder, "train", 0.15, 8000, seed=5)


def _mixes(folder):
  return dynamic_mixes(folder, "train", STEMS, 0.15, 8000, seed=5)


@pytest.fixture(params=["pairs", "mixes"])
def dataset(request, mixture_set, stem_set):
  return _pairs(mixture_set) if request.param == "pairs" else _mixes(stem_set)


@pytest.fixture
def numbers():
  """An endless stream that counts the examples that were made."""
  made = []

  def make(index):
    made.append(index)
    return {"index": np.int64(index)}

  dataset = grain.MapDataset.range(10).repeat().map_with_index(lambda i, _: make(i))
  return dataset, made


def _steps(dataset, first, count, **options):
  batches = host_batches(dataset, first, BATCH, **options)
  taken = list(islice(batches, count))
  batches.close()
  return taken


def _assert_equal(one, other):
  assert len(one) == len(other)
  for a, b in zip(one, other, strict=True):
    assert a.keys() == b.keys()
    for key in a:
      assert a[key].dtype == b[key].dtype
      np.testing.assert_array_equal(a[key], b[key])


def test_a_batch_stacks_successive_examples(dataset):
  for step, batch in enumerate(_steps(dataset, 0, 3)):
    examples = [dataset[step * BATCH + i] for i in range(BATCH)]
    expected = {key: np.stack([e[key] for e in examples]) for key in examples[0]}
    _assert_equal([batch], [expected])


def test_threads_and_buffer_change_nothing(dataset):
  one = _steps(dataset, 0, STEPS, threads=1)
  _assert_equal(one, _steps(dataset, 0, STEPS, threads=3, buffer=5))
  _assert_equal(one, _steps(dataset, 0, STEPS, threads=8))


@pytest.mark.parametrize("hosts", [2, 4])
def test_all_hosts_together_see_what_one_host_sees(dataset, hosts):
  alone = _steps(dataset, 0, STEPS)
  parts = [_steps(dataset, 0, STEPS, host=host, hosts=hosts) for host in range(hosts)]
  for step, whole in enumerate(alone):
    # Host h holds the examples h, h + hosts, ... of the batch.
    for key, values in whole.items():
      for host, part in enumerate(parts):
        np.testing.assert_array_equal(part[step][key], values[host::hosts])


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_restart_sees_what_the_first_run_would_have_seen(dataset, hosts):
  for host in range(hosts):
    whole = _steps(dataset, 0, STEPS, host=host, hosts=hosts)
    for first in (1, 2, 3, 5, 11):
      rest = _steps(dataset, first, STEPS - first, host=host, hosts=hosts)
      _assert_equal(rest, whole[first:])


def test_a_late_step_starts_at_once(dataset):
  batch = _steps(dataset, 10**12, 1)[0]
  np.testing.assert_array_equal(batch["index"], 4 * 10**12 + np.arange(4))


def test_reading_ahead_is_bounded_and_starts_at_once(numbers):
  dataset, made = numbers
  batches = host_batches(dataset, 0, global_batch=6, threads=2, buffer=3)
  time.sleep(0.3)
  # One batch waits, one waits for its place, and the buffer is full.
  assert len(made) == 2 * 6 + 3
  next(batches)
  time.sleep(0.3)
  assert len(made) == 3 * 6 + 3
  batches.close()


def test_threads_end_with_the_batches(numbers):
  dataset, _ = numbers
  before = set(threading.enumerate())
  batches = host_batches(dataset, 0, BATCH)
  next(batches)
  assert set(threading.enumerate()) - before
  batches.close()
  other = host_batches(dataset, 0, BATCH)
  next(other)
  del other
  failing = host_batches(dataset.map(lambda example: example["no such key"]), 0, BATCH)
  with pytest.raises(KeyError):
    next(failing)
  deadline = time.monotonic() + 5
  while set(threading.enumerate()) - before and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not set(threading.enumerate()) - before


def test_a_corrupt_record_is_raised_by_name(mixture_set, tmp_path):
  folder = Path(shutil.copytree(mixture_set, tmp_path / "set"))
  path = folder / "mixture/train-00000-of-00003.arrayrecord"
  data = bytearray(path.read_bytes())
  data[data.find(b"fLaC") + 100] ^= 1
  path.write_bytes(data)
  batches = host_batches(_pairs(folder), 0, BATCH)
  with pytest.raises(RecordError, match=r"00000-of-00003\.arrayrecord, record 0: "):
    list(islice(batches, 20))
  with pytest.raises(ValueError, match="closed"):
    next(batches)


def test_wrong_arguments_are_named(numbers):
  dataset, made = numbers
  for options, message in (
    ({"global_batch": 6, "hosts": 4}, "6 examples cannot be divided among 4 hosts"),
    ({"global_batch": 0}, "global batch of 0"),
    ({"host": 2, "hosts": 2}, "host: expected 0 to 1, found 2"),
    ({"host": -1}, "host: expected 0 to 0, found -1"),
    ({"first_step": -1}, "first_step: expected at least 0, found -1"),
    ({"threads": 0}, "threads: expected at least 1, found 0"),
    ({"threads": 4, "buffer": 3}, "an example for each of 4 threads, found 3"),
  ):
    with pytest.raises(UserError, match=message):
      host_batches(dataset, **{"first_step": 0, "global_batch": 4, **options})
  assert not made


def test_fingerprint_follows_the_data_and_the_settings(mixture_set, stem_set):
  mixtures, stems = Manifest.load(mixture_set), Manifest.load(stem_set)
  prints = [
    stream_fingerprint([mixtures], split="train", seed=0, global_batch=64),
    stream_fingerprint([mixtures], split="train", seed=1, global_batch=64),
    stream_fingerprint([mixtures], split="train", seed=0, global_batch=32),
    stream_fingerprint([stems], split="train", seed=0, global_batch=64),
    stream_fingerprint([mixtures, stems], split="train", seed=0, global_batch=64),
  ]
  assert len(set(prints)) == 5
  again = stream_fingerprint([mixtures], global_batch=64, seed=0, split="train")
  assert again == prints[0]
