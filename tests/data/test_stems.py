import numpy as np
import pytest
from tiny_sets import STEMS, write_set

from mixit_jax.audio.pcm import to_float32
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.records import Segment, encode_segment, open_shards, write_shard
from mixit_jax.data.stems import dynamic_mixes
from mixit_jax.errors import UserError

SECONDS = 0.15
LENGTH = 1200


def _mixes(folder, seed=0, **options):
  return dynamic_mixes(folder, "train", STEMS, SECONDS, 8000, seed, **options)


def _references(example):
  """The stems as the device computes them."""
  return to_float32(example["references"]) * example["gains"][:, None, None]


def _rms(audio):
  return np.sqrt(np.mean(np.square(audio, dtype=np.float64), axis=(-2, -1)))


def test_an_example_is_a_pure_function_of_seed_and_index(stem_set):
  one, again, other = _mixes(stem_set), _mixes(stem_set), _mixes(stem_set, 1)
  forward = [one[i] for i in range(30)]
  backward = [again[i] for i in reversed(range(30))][::-1]
  for a, b in zip(forward, backward, strict=True):
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])
  mixes = [ds[i]["references"].tobytes() for ds in (one, other) for i in range(60)]
  assert len(set(mixes)) == 120


def test_an_example_holds_what_it_says(stem_set):
  sources = [open_shards(stem_set, "train", stem) for stem in STEMS]
  mixes = _mixes(stem_set, drop=0.3)
  for index in (0, 1, 2, 3, 77, 10**12):
    example = mixes[index]
    assert {k: (v.shape, v.dtype.name) for k, v in example.items()} == {
      "references": ((4, 2, LENGTH), "int16"),
      "gains": ((4,), "float32"),
      "index": ((), "int64"),
      "records": ((4,), "int64"),
      "damaged": ((), "int64"),
    }
    assert example["index"] == index
    for reference, record, source in zip(
      _references(example), example["records"], sources, strict=True
    ):
      if record == -1:
        assert not reference.any()
        continue
      whole = source[record].audio
      # The right channel is constant, the left one counts samples.
      start = round(reference[0, 0] / reference[1, 0] * (record + 1)) - 1
      crop = to_float32(whole[:, start : start + LENGTH])
      gain = _rms(reference) / _rms(crop)
      np.testing.assert_allclose(reference, crop * gain, rtol=1e-5)


def test_stems_are_normalized_and_their_gains_fill_the_range(stem_set):
  mixes = _mixes(stem_set, drop=0.0)
  levels = 20 * np.log10(_rms(np.stack([_references(mixes[i]) for i in range(100)])))
  counts, _ = np.histogram(levels, bins=10, range=(-10, 10))
  assert counts.sum() == 400
  assert counts.min() > 20
  # Each stem has its own gain.
  assert np.abs(np.corrcoef(levels.T) - np.eye(4)).max() < 0.35
  level = _rms(_references(_mixes(stem_set, drop=0.0, gain_db=0.0)[0]))
  np.testing.assert_allclose(level, 1.0, rtol=1e-5)
  mixes = _mixes(stem_set, drop=0.0, gain_db=0.0, level="mean_abs")
  references = _references(mixes[0])
  np.testing.assert_allclose(np.abs(references).mean(axis=(1, 2)), 1.0, rtol=1e-5)
  assert np.abs(_rms(references) - 1.0).min() > 0.01


def test_stems_are_dropped_as_often_as_asked_for_but_never_all(stem_set):
  for drop, low, high in ((0.0, 0.0, 0.0), (0.05, 0.02, 0.09), (0.95, 0.7, 0.8)):
    mixes = _mixes(stem_set, drop=drop)
    dropped = np.array([mixes[i]["records"] for i in range(250)]) == -1
    assert low <= dropped.mean() <= high
    assert not dropped.all(axis=1).any()
  # Of the last ones, with one stem left nearly always, each stem has its share.
  assert (~dropped).sum(axis=0).min() > 40


def test_every_stem_runs_through_its_own_segments(stem_set):
  mixes = _mixes(stem_set, drop=0.0)
  records = np.array([mixes[i]["records"] for i in range(6 * 7)])
  for stem, count in enumerate((6, 7, 8, 9)):
    whole = records[: len(records) // count * count, stem].reshape(-1, count)
    np.testing.assert_array_equal(
      np.sort(whole), np.tile(np.arange(count), (len(whole), 1))
    )
  assert len({tuple(row) for row in records}) == len(records)


def test_stems_of_one_size_have_different_orders(tmp_path):
  folder = write_set(tmp_path, {stem: [list("abcdefghij")] for stem in STEMS})
  mixes = _mixes(folder, drop=0.0)
  records = np.array([mixes[i]["records"] for i in range(50)])
  assert (
    len({tuple(epoch) for stem in records.T for epoch in stem.reshape(5, 10)}) == 20
  )


def test_silence_is_not_made_louder(tmp_path):
  folder = write_set(tmp_path, {"bass": [["a"]]})
  file = "bass/train-00000-of-00001.arrayrecord"
  silence = Segment(np.zeros((2, 2000), np.float32), "a", 0.0)
  write_shard(folder / file, [encode_segment(silence, 8000)])
  assert Manifest.load(folder).splits["train"]["bass"][0]["file"] == file
  mixes = dynamic_mixes(folder, "train", ("bass",), SECONDS, 8000, 0)
  assert not mixes[0]["references"].any()
  assert mixes[0]["records"] == 0


def test_wrong_arguments_are_named(stem_set, mixture_set):
  for options, message in (
    ({"drop": 1.0}, "drop: expected a probability below 1, found 1"),
    ({"drop": -0.1}, r"drop: .* found -0\.1"),
    ({"gain_db": -1.0}, "gain_db: expected at least 0, found -1"),
    ({"level": "peak"}, "level: 'peak' is not one of rms, mean_abs"),
  ):
    with pytest.raises(UserError, match=message):
      _mixes(stem_set, **options)
  for stems in ((), ("bass", "bass")):
    with pytest.raises(UserError, match="stems: expected different names"):
      dynamic_mixes(stem_set, "train", stems, SECONDS, 8000, 0)
  with pytest.raises(UserError, match="no source 'bass', only 'mixture'"):
    _mixes(mixture_set)
