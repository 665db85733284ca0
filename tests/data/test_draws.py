import numpy as np
import pytest

from mixit_jax.data.draws import (
  open_checked,
  random_crop,
  random_generator,
  record_order,
  stream_seed,
)
from mixit_jax.data.records import open_shards
from mixit_jax.errors import UserError


def _epochs(stream: int, records: int, epochs: int) -> np.ndarray:
  order = record_order(records, stream)
  return np.reshape([order[i] for i in range(records * epochs)], (epochs, records))


def test_streams_of_other_names_and_seeds_have_other_seeds():
  seeds = {
    stream_seed(seed, *names)
    for seed in range(100)
    for names in (("order", "bass"), ("order", "drums"), ("mixes", "bass"), ("order",))
  }
  assert len(seeds) == 400


def test_stream_seed_does_not_depend_on_the_process():
  # Python's own hash of a string does.
  assert stream_seed(7, "order", "train", "bass") == 16684375217755290137


def test_every_epoch_holds_every_record_once_in_its_own_order():
  epochs = _epochs(stream_seed(0, "a"), 50, epochs=4)
  np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(50), (4, 1)))
  assert len({tuple(epoch) for epoch in epochs}) == 4


def test_no_stream_repeats_the_order_of_another():
  streams = [_epochs(stream_seed(7, name), 30, 5) for name in ("a", "b", "c", "d")]
  streams += [_epochs(stream_seed(8, name), 30, 5) for name in ("a", "b", "c", "d")]
  assert len({tuple(epoch) for stream in streams for epoch in stream}) == 40


def test_generators_differ_between_positions_and_streams():
  draws = {
    random_generator(stream, index).random()
    for stream in (1, 2, 2**32 - 1)
    for index in (0, 1, 2, 2**33)
  }
  assert len(draws) == 12
  assert random_generator(1, 5).random() == random_generator(1, 5).random()


def test_crops_reach_every_place_of_a_segment(mixture_set):
  shards = open_shards(mixture_set, "train", "mixture")
  starts = []
  for index in range(200):
    crop = random_crop(shards, 3, 1995, random_generator(0, index)).audio
    start = crop[0, 0] - 1
    np.testing.assert_array_equal(crop, shards[3].audio[:, start : start + 1995])
    starts.append(start)
  assert set(starts) == set(range(6))
  whole = random_crop(shards, 3, 2000, random_generator(0, 0)).audio
  np.testing.assert_array_equal(whole, shards[3].audio)


def test_data_that_does_not_fit_the_configuration_is_refused(mixture_set):
  assert len(open_checked(mixture_set, "train", "mixture", 0.25, 8000)) == 21
  with pytest.raises(UserError, match=r"8000 Hz, but .* asks for 44100 Hz"):
    open_checked(mixture_set, "train", "mixture", 0.25, 44100)
  for seconds in (0.26, 0.0, -1.0):
    with pytest.raises(UserError, match=f"cannot crop {seconds:g} s .* of 0.25 s"):
      open_checked(mixture_set, "train", "mixture", seconds, 8000)
