"""Long recordings: chunks, overlaps, silence and memory."""

import re
import tracemalloc

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mixit_jax.errors import UserError
from mixit_jax.separator import chunked
from mixit_jax.separator.chunked import separate_long


def noise(length, channels=2):
  return np.random.default_rng(length).standard_normal((channels, length), np.float32)


def identity(chunks):
  return np.stack([chunks, 2 * chunks], 1)


class Recorder:
  """Identity model that keeps the shapes and batches it was called with."""

  def __init__(self):
    self.calls = []

  def __call__(self, chunks):
    self.calls.append(chunks)
    return identity(chunks)


def test_stitching_matches_reference(fixtures):
  vectors = np.load(fixtures / "overlap_add.npz")

  def stand_in(chunks):
    rms = np.sqrt(np.mean(chunks**2, -1, keepdims=True))
    peak = np.abs(chunks).max(-1, keepdims=True)
    return np.stack([chunks / (1 + rms), chunks * peak], 1)

  found = separate_long(
    stand_in, vectors["mixture"], int(vectors["segment"]), int(vectors["hop"]), batch=2
  )
  np.testing.assert_allclose(
    found[..., ::37], vectors["estimates_every_37"], atol=1e-5, rtol=0
  )


@pytest.mark.parametrize("length", [1, 2, 9, 10, 11, 14, 15, 16, 20, 21, 33, 100, 101])
@pytest.mark.parametrize(
  ("chunk", "hop"), [(10, 5), (10, 10), (10, 4), (10, 3), (7, 1)]
)
@pytest.mark.parametrize("batch", [1, 3])
def test_identity_model_returns_the_recording(length, chunk, hop, batch):
  mixture = noise(length)
  found = separate_long(identity, mixture, chunk, hop, batch)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, identity(mixture[None])[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("chunk", "hop"), [(10, 5), (10, 10), (10, 3), (9, 4)])
@pytest.mark.parametrize(
  ("window", "weights"),
  [
    ("mean", np.ones),
    # At the middles of the samples, so that none is zero.
    ("triangle", lambda chunk: np.bartlett(2 * chunk + 1)[1::2]),
    ("hann", lambda chunk: np.hanning(2 * chunk + 1)[1::2]),
  ],
)
def test_overlaps_are_means_of_the_chunks_that_cover_a_sample(
  chunk, hop, window, weights
):
  length, call = 34, iter(range(100))

  def numbered(chunks):
    return np.full((1, 1, *chunks.shape[1:]), next(call), np.float32)

  mixture = np.ones((1, length))
  found = separate_long(numbered, mixture, chunk, hop, window=window)[0, 0]
  starts = [0]
  while starts[-1] + chunk < length:
    starts.append(starts[-1] + hop)
  weight = weights(chunk)
  expected = []
  for t in range(length):
    covers = [i for i, start in enumerate(starts) if start <= t < start + chunk]
    shares = [weight[t - starts[i]] for i in covers]
    expected.append(np.average(covers, weights=shares))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_every_call_has_the_same_shape_and_the_last_chunk_ends_in_zeros():
  model = Recorder()
  mixture = noise(47)
  separate_long(model, mixture, 10, 5, batch=4)
  assert [chunks.shape for chunks in model.calls] == [(4, 2, 10)] * 3
  last_chunk = model.calls[-1][0]
  np.testing.assert_array_equal(last_chunk[:, :7], mixture[:, 40:])
  assert not last_chunk[:, 7:].any()
  assert not model.calls[-1][1:].any()


@pytest.mark.parametrize("length", [6, 10])
def test_a_recording_of_at_most_one_chunk_goes_through_whole(length):
  model = Recorder()
  mixture = noise(length)
  separate_long(model, mixture, 10, 5)
  assert len(model.calls) == 1
  np.testing.assert_array_equal(model.calls[0], mixture[None])


def test_a_silent_chunk_gives_silence_without_the_model():
  model = Recorder()
  mixture = noise(40)
  mixture[:, 10:30] = 0  # the chunks at 10, 15 and 20

  def loud(chunks):
    return model(chunks) + 1

  found = separate_long(loud, mixture, 10, 5)
  assert len(model.calls) == 4
  assert all(chunks.any() for chunks in model.calls)
  assert not found[..., 15:25].any()
  np.testing.assert_allclose(found[0, :, 10:15], 0.5)  # mean of 0 + 1 and silence


def test_a_silent_recording_gives_silence():
  found = separate_long(
    lambda chunks: identity(chunks) + np.nan, np.zeros((2, 25)), 10, 5
  )
  assert found.shape == (2, 2, 25)
  assert not found.any()


@pytest.mark.parametrize(("chunk", "hop"), [(10, 5), (10, 10), (10, 3), (9, 2)])
@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_groups_with_silence_add_up_as_chunk_by_chunk(chunk, hop, batch):
  random = np.random.default_rng(batch)
  for length in (41, 73, 120):
    mixture = noise(length)
    for start, stop in np.sort(random.integers(0, length, (4, 2)), axis=1):
      mixture[:, start:stop] = 0

    def model(chunks):
      # Silence is never to be heard from: neither what is separated of it, nor NaN.
      answer = identity(chunks) + np.float32(1)
      return np.where(chunks.any((1, 2))[:, None, None, None], answer, np.nan)

    sums, cover = np.zeros((2, 2, length + chunk), np.float32), np.zeros(length + chunk)
    padded = np.pad(mixture, ((0, 0), (0, chunk)))
    for start in range(0, max(length - chunk, 0) + hop, hop):
      piece = padded[:, start : start + chunk]
      if piece.any():
        sums[..., start : start + chunk] += model(piece[None])[0]
      cover[start : start + chunk] += 1
    found = separate_long(model, mixture, chunk, hop, batch)
    expected = (sums / np.maximum(cover, 1))[..., :length]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_the_size_of_the_groups_changes_no_bit():
  mixture = noise(157)
  one, *others = (separate_long(identity, mixture, 10, 3, n) for n in (1, 2, 5, 64))
  for other in others:
    np.testing.assert_array_equal(one, other)


def test_a_group_begins_at_a_chunk_that_sounds():
  model = Recorder()
  mixture = noise(60)
  mixture[:, 5:33] = 0  # the chunks at 5 to 20
  separate_long(model, mixture, 10, 5, batch=2)
  firsts = [chunks[0].any() for chunks in model.calls]
  assert all(firsts)
  # Chunks 0 and 1 (silent), 5 and 6, 7 and 8, 9 and 10.
  assert len(firsts) == 4
  assert not model.calls[0][1].any()


def test_results_are_fetched_after_the_next_group_is_on_its_way(monkeypatch):
  events = []
  fetch = chunked._fetch

  def noted(sums, arrived):
    events.extend(["fetch"] * len(arrived))
    fetch(sums, arrived)

  def model(chunks):
    events.append("separate")
    return jax.numpy.asarray(identity(chunks))

  monkeypatch.setattr(chunked, "_fetch", noted)
  separate_long(model, noise(30), 10, 5, batch=2)
  assert events == ["separate", "separate", "fetch", "separate", *["fetch"] * 3]


def test_devices_hold_no_more_than_two_groups():
  def live_bytes(length):
    found = []

    def model(chunks):
      found.append(sum(array.nbytes for array in jax.live_arrays()))
      return jax.numpy.asarray(identity(chunks))

    separate_long(model, noise(length), 100, 50, batch=2)
    return max(found) - found[0]

  one_group = 2 * 2 * 2 * 100 * 4
  assert live_bytes(5000) == live_bytes(1000) <= 2 * one_group


@pytest.fixture(scope="module")
def divided():
  """Layout of a batch over eight devices, as training and inference lay it out."""
  mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


@pytest.mark.parametrize(("chunk", "hop"), [(10, 5), (10, 10), (10, 3), (20, 2)])
@pytest.mark.parametrize("batch", [8, 16])
def test_several_devices_give_the_same_bits(divided, chunk, hop, batch):
  def model(chunks):
    return jax.device_put(identity(chunks), divided)

  mixture = noise(301)
  mixture[:, 100:160] = 0
  found = separate_long(model, mixture, chunk, hop, batch)
  np.testing.assert_array_equal(found, separate_long(identity, mixture, chunk, hop))


@pytest.mark.parametrize("batch", [8, 32])
def test_devices_exchange_only_what_reaches_into_the_next(divided, batch):
  adder, whole = chunked._adder(divided, 600)
  shapes = (
    jax.ShapeDtypeStruct((batch, 4, 2, 1200), np.float32, sharding=divided),
    jax.ShapeDtypeStruct((batch,), bool, sharding=whole),
    jax.ShapeDtypeStruct((1, 4, 2, 600), np.float32, sharding=whole),
  )
  program = adder.lower(*shapes).compile().as_text()
  exchanges = re.findall(
    r"= f32\[([\d,]+)\]\S* (?:all-|collective-|reduce-)[a-z-]+\(", program
  )
  assert exchanges
  assert set(exchanges) == {"1,4,2,600"}


def test_the_recording_is_left_unchanged():
  mixture = noise(33)
  before = mixture.copy()
  separate_long(identity, mixture, 10, 5)
  np.testing.assert_array_equal(mixture, before)


def test_memory_beside_the_result_does_not_grow_with_length():
  def extra(length):
    mixture = np.ones((1, length), np.float32)
    tracemalloc.start()
    result = separate_long(identity, mixture, 10_000, 5000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - result.nbytes

  extra(30_000)
  assert extra(2_000_000) < extra(50_000) + 1_000_000


@pytest.mark.parametrize(
  ("arguments", "key"),
  [
    ((noise(30), 10, 0), "hop"),
    ((noise(30), 10, 11), "hop"),
    ((noise(30), 0, 1), "hop"),
    ((noise(30), 10, 5, 0), "batch"),
    ((noise(30)[0], 10, 5), "mixture"),
    ((np.zeros((2, 0)), 10, 5), "mixture"),
  ],
)
def test_invalid_arguments_are_explained(arguments, key):
  with pytest.raises(UserError, match=key):
    separate_long(identity, *arguments)
