import numpy as np

from mixit_jax.data.draws import (
  random_generator,
  record_order,
  stream_seed,
  weighted_order,
)


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


def test_parts_have_their_shares_and_run_through_all_their_records():
  sizes, weights, stream = (7, 300, 20), (3.0, 1.0, 0.001), stream_seed(0, "mixed")
  order = weighted_order(sizes, weights, stream)
  ids = np.array([order[i] for i in range(3000)])
  parts = np.searchsorted(np.cumsum(sizes), ids, side="right")
  for block in np.split(parts, 3):
    assert np.bincount(block).tolist() == [749, 250, 1]
  assert (np.diff(parts[:1000]) != 0).sum() > 200  # no part lies in one piece
  for part, size in enumerate(sizes):
    own = ids[parts == part]
    whole = own[: len(own) // size * size].reshape(-1, size)
    first = sum(sizes[:part])
    np.testing.assert_array_equal(
      np.sort(whole), np.tile(np.arange(first, first + size), (len(whole), 1))
    )
  again = weighted_order(sizes, weights, stream)
  assert [again[i] for i in (2999, 5, 1234)] == ids[[2999, 5, 1234]].tolist()
  assert [order[i] for i in range(99)] != [
    weighted_order(sizes, weights, stream + 1)[i] for i in range(99)
  ]
