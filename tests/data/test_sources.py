import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_sets import STEMS, numbered_tracks, write_set

from mixit_jax.data.batches import host_batches
from mixit_jax.data.draws import random_generator
from mixit_jax.data.mixtures import mixture_pairs
from mixit_jax.data.records import RecordError, open_shards
from mixit_jax.data.sources import open_sources
from mixit_jax.data.stems import dynamic_mixes
from mixit_jax.errors import UserError


def _open(folders, **options):
  return open_sources(folders, "train", "mixture", 0.25, 8000, **options)


def _damage(folder: Path, shard: int, *records: int) -> None:
  """Flips a byte in some records of a shard."""
  (path,) = folder.glob(f"*/train-{shard:05d}-*.arrayrecord")
  data = bytearray(path.read_bytes())
  starts = [at for at in range(len(data)) if data.startswith(b"fLaC", at)]
  for record in records:
    data[starts[record] + 200] ^= 1
  path.write_bytes(data)


@pytest.fixture
def damaged_set(mixture_set, tmp_path):
  """The set of 21 records, of which 10 and 12 are damaged."""
  folder = Path(shutil.copytree(mixture_set, tmp_path / "set"))
  _damage(folder, 1, 3)
  _damage(folder, 2, 0)
  return folder


@pytest.fixture(scope="module")
def second_set(tmp_path_factory):
  """5 records of other tracks."""
  tracks = {"mixture": numbered_tracks("second", (5,), each=1)}
  return write_set(tmp_path_factory.mktemp("second"), tracks)


def test_crops_reach_every_place_of_a_segment(mixture_set):
  shards, sources = open_shards(mixture_set, "train", "mixture"), _open(mixture_set)
  starts = []
  for index in range(200):
    record, crop = sources.crop(3, 1995, random_generator(0, index))
    start = crop.audio[0, 0] - 1
    expected = shards[3].audio[:, start : start + 1995]
    np.testing.assert_array_equal(crop.audio, expected)
    starts.append(start)
    assert record == 3
  assert set(starts) == set(range(6))
  _, whole = sources.crop(3, 2000, random_generator(0, 0))
  np.testing.assert_array_equal(whole.audio, shards[3].audio)


def test_data_that_does_not_fit_the_configuration_is_refused(mixture_set):
  assert len(_open(mixture_set)) == 21
  with pytest.raises(UserError, match=r"8000 Hz, but .* asks for 44100 Hz"):
    open_sources(mixture_set, "train", "mixture", 0.25, 44100)
  for seconds in (0.26, 0.0, -1.0):
    with pytest.raises(UserError, match=f"cannot crop {seconds:g} s .* of 0.25 s"):
      open_sources(mixture_set, "train", "mixture", seconds, 8000)


def test_several_folders_are_one_after_the_other(mixture_set, second_set):
  sources = _open([mixture_set, second_set])
  assert len(sources) == 26
  assert sources.track(20) == (0, "track6.mp3")
  assert sources.track(21) == (1, "second0.mp3")
  record, crop = sources.crop(23, 2000, random_generator(0, 0))
  assert (record, crop.track) == (23, "second2.mp3")
  order = sources.order(5)
  assert sorted(order[i] for i in range(26)) == list(range(26))
  with pytest.raises(IndexError):
    sources.track(26)


@pytest.mark.parametrize(
  ("weights", "low", "high"), [((), 0.17, 0.21), ((1, 1), 0.48, 0.52)]
)
def test_folders_are_mixed_by_hours_or_by_weights(
  mixture_set, second_set, weights, low, high
):
  folders = [mixture_set, second_set]
  pairs = mixture_pairs(folders, "train", 0.15, 8000, 0, weights)
  records = np.array([pairs[i]["records"] for i in range(1000)])
  assert low <= (records >= 21).mean() <= high


def test_a_stream_from_several_folders_is_entered_anywhere(mixture_set, second_set):
  folders = [mixture_set, second_set]

  def steps(first, count):
    pairs = mixture_pairs(folders, "train", 0.15, 8000, 0, (2, 1))
    batches = host_batches(pairs, first, 4, threads=2)
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found

  for one, other in zip(steps(0, 5)[3:], steps(3, 2), strict=True):
    for key in one:
      np.testing.assert_array_equal(one[key], other[key])


def test_a_damaged_record_costs_itself_alone(mixture_set, damaged_set, caplog):
  whole = mixture_pairs(mixture_set, "train", 0.15, 8000, 0)
  damaged = mixture_pairs(damaged_set, "train", 0.15, 8000, 0, max_damaged=0.1)
  replaced = 0
  for index in range(60):
    one, other = whole[index], damaged[index]
    if not other["damaged"] and not {10, 12} & set(one["records"]):
      for key in one:
        np.testing.assert_array_equal(one[key], other[key])
      continue
    replaced += int(other["damaged"])
    assert not {10, 12} & set(other["records"])
    track = other["records"] // 3
    assert track[0] != track[1]
  assert replaced > 5
  told = [line for line in caplog.messages if "another one is drawn" in line]
  assert len(told) == 2
  assert any("00001-of-00003.arrayrecord, record 3" in line for line in told)


def test_what_is_drawn_instead_follows_from_the_index_alone(damaged_set):
  def make():
    return mixture_pairs(damaged_set, "train", 0.15, 8000, 0, max_damaged=0.1)

  forward, backward = make(), make()
  one = [forward[i] for i in range(40)]
  other = [backward[i] for i in reversed(range(40))][::-1]
  assert sum(int(example["damaged"]) for example in one) > 0
  for a, b in zip(one, other, strict=True):
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])


def test_too_many_damaged_records_end_it(damaged_set):
  pairs = mixture_pairs(damaged_set, "train", 0.15, 8000, 0, max_damaged=0.05)
  with pytest.raises(
    RecordError, match=r"2 of 21 records .* data\.max_damaged = 0\.05"
  ):
    [pairs[i] for i in range(60)]
  pairs = mixture_pairs(damaged_set, "train", 0.15, 8000, 0)
  with pytest.raises(RecordError, match=r"arrayrecord, record \d: cannot be read"):
    [pairs[i] for i in range(60)]


def test_stems_skip_damaged_records_as_well(stem_set, tmp_path):
  folder = Path(shutil.copytree(stem_set, tmp_path / "set"))
  for path in (folder / "drums").glob("train-00000-*.arrayrecord"):
    data = bytearray(path.read_bytes())
    data[data.index(b"fLaC") + 200] ^= 1
    path.write_bytes(data)
  mixes = dynamic_mixes(folder, "train", STEMS, 0.15, 8000, 0, max_damaged=0.1)
  found = [mixes[i] for i in range(30)]
  assert sum(int(mix["damaged"]) for mix in found) in range(2, 7)
  assert all(mix["records"][1] != 0 for mix in found)
