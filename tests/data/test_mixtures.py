import numpy as np
import pytest
from tiny_sets import numbered_tracks, write_set

from mixit_jax.data.mixtures import mixture_pairs
from mixit_jax.data.records import open_shards
from mixit_jax.errors import UserError

SECONDS = 0.15
LENGTH = 1200


def _pairs(folder, seed=0):
  return mixture_pairs(folder, "train", SECONDS, 8000, seed)


def _equal(one, other) -> bool:
  return all(np.array_equal(one[key], other[key]) for key in one)


def test_an_example_is_a_pure_function_of_seed_and_index(mixture_set):
  one, again, other = _pairs(mixture_set), _pairs(mixture_set), _pairs(mixture_set, 1)
  forward = [one[i] for i in range(40)]
  backward = [again[i] for i in reversed(range(40))][::-1]
  assert all(_equal(a, b) for a, b in zip(forward, backward, strict=True))
  # Over many epochs no example comes back, and another seed shares none.
  texts = [
    e["segments"].tobytes() for ds in (one, other) for e in (ds[i] for i in range(100))
  ]
  assert len(set(texts)) == 200
  assert not {float(e["ratio_db"]) for e in forward} & {
    float(other[i]["ratio_db"]) for i in range(40)
  }


def test_an_example_holds_what_it_says(mixture_set):
  shards = open_shards(mixture_set, "train", "mixture")
  pairs = _pairs(mixture_set)
  for index in (0, 5, 10, 11, 12_345, 10**12):
    example = pairs[index]
    assert {k: (v.shape, v.dtype.name) for k, v in example.items()} == {
      "segments": ((2, 2, LENGTH), "int16"),
      "ratio_db": ((), "float32"),
      "index": ((), "int64"),
      "records": ((2,), "int64"),
      "damaged": ((), "int64"),
    }
    assert example["index"] == index
    for segment, record in zip(example["segments"], example["records"], strict=True):
      start = segment[0, 0] - 1
      expected = shards[record].audio[:, start : start + LENGTH]
      np.testing.assert_array_equal(segment, expected)


def test_ratios_fill_their_range(mixture_set):
  pairs = _pairs(mixture_set)
  ratios = np.array([pairs[i]["ratio_db"] for i in range(400)])
  counts, _ = np.histogram(ratios, bins=10, range=(-5, 5))
  assert counts.sum() == 400
  assert counts.min() > 20


def test_the_two_segments_are_of_different_tracks(mixture_set):
  pairs = _pairs(mixture_set)
  records = np.array([pairs[i]["records"] for i in range(500)])
  tracks = records // 3
  assert (tracks[:, 0] != tracks[:, 1]).all()
  assert set(records.flat) == set(range(21))


def test_even_a_rare_other_track_is_found(tmp_path):
  folder = write_set(tmp_path, {"mixture": [["a"] * 3 + ["b"]]})
  pairs = _pairs(folder)
  records = np.array([pairs[i]["records"] for i in range(200)])
  assert ((records == 3).sum(axis=1) == 1).mean() > 0.97


def test_the_only_track_is_paired_with_itself(tmp_path):
  pairs = _pairs(write_set(tmp_path, {"mixture": [["a"]]}))
  example = pairs[3]
  np.testing.assert_array_equal(example["records"], [0, 0])
  crops = example["segments"][:, 0, 0]
  assert crops[0] != crops[1]


def test_an_epoch_uses_every_segment_once(tmp_path):
  tracks = {"mixture": numbered_tracks("track", (9, 11), each=1)}
  pairs = _pairs(write_set(tmp_path, tracks))
  for epoch in range(5):
    records = [pairs[i]["records"] for i in range(10 * epoch, 10 * epoch + 10)]
    np.testing.assert_array_equal(np.sort(records, axis=None), np.arange(20))


def test_data_of_another_kind_is_refused(stem_set, mixture_set):
  with pytest.raises(UserError, match="no source 'mixture', only 'bass', 'drums'"):
    _pairs(stem_set)
  with pytest.raises(UserError, match="cannot crop 6 s"):
    mixture_pairs(mixture_set, "train", 6.0, 8000, 0)
  with pytest.raises(UserError, match="no split 'valid'"):
    mixture_pairs(mixture_set, "valid", SECONDS, 8000, 0)
