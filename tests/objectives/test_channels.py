import itertools
import json

import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.objectives.channels import (
  STEMS,
  ChannelSelection,
  match_channels,
  vote_channels,
)


def noise(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def chunk(outputs, num_outputs=6, level=0.3, seed=0, num_channels=2, length=400):
  """Stems [N, C, L] that appear, with noise, in the given outputs [M, C, L]."""
  references = noise(len(outputs), num_channels, length, seed=[seed, 0])
  estimates = 0.2 * noise(num_outputs, num_channels, length, seed=[seed, 1])
  for stem, output in enumerate(outputs):
    estimates[output] = references[stem] + level * estimates[output]
  return references, estimates


def snr_matrix(references, estimates):
  """SNR of every pair from waveforms, in dB."""
  references, estimates = references.astype(float), estimates.astype(float)
  error = np.sum((references[:, None] - estimates[None]) ** 2, axis=(2, 3))
  return 10 * np.log10(np.sum(references**2, axis=(1, 2))[:, None] / error)


@pytest.fixture(scope="module")
def vectors(fixtures):
  return dict(np.load(fixtures / "channel_selection.npz"))


def test_left_channel_votes_equal_the_reference_vectors(vectors):
  for stem, name in enumerate(STEMS):
    votes = [
      match_channels(references, estimates, "left").outputs[stem]
      for references, estimates in zip(
        vectors["references"], vectors["estimates"], strict=True
      )
    ]
    assert [vote for vote in votes if vote >= 0] == list(vectors[f"votes_{name}"])


@pytest.mark.parametrize("one_to_one", [True, False])
def test_selection_counts_the_reference_votes(vectors, one_to_one):
  chunks = list(zip(vectors["references"], vectors["estimates"], strict=True))
  selection = vote_channels(chunks, channels="left", one_to_one=one_to_one)
  for stem, name in enumerate(STEMS):
    counts = np.bincount(vectors[f"votes_{name}"], minlength=12)
    assert selection.votes[stem] == tuple(counts)
    assert selection.outputs[stem] == counts.argmax()
    assert selection.confidence[stem] == pytest.approx(counts.max() / counts.sum())


@pytest.mark.parametrize("seed", range(5))
def test_matching_equals_trying_all_permutations(seed):
  references = noise(4, 2, 60, seed=[seed, 0])
  weights = np.random.default_rng(seed).uniform(0, 1, (12, 4))
  estimates = np.einsum("mn,ncl->mcl", weights, references)
  estimates += 0.3 * noise(12, 2, 60, seed=[seed, 1])
  match = match_channels(references, estimates)
  snr = snr_matrix(references, estimates)
  np.testing.assert_allclose(match.snr, snr, atol=1e-9)
  permutations = np.array(list(itertools.permutations(range(12), 4)))
  assert len(permutations) == 11_880
  means = snr[np.arange(4), permutations].mean(axis=1)
  np.testing.assert_array_equal(match.outputs, permutations[means.argmax()])


def test_long_chunks_are_summed_to_the_last_sample():
  references, estimates = chunk([0, 1], length=20_001)
  references[:, :, -1] *= 100
  snr = match_channels(references, estimates).snr
  np.testing.assert_allclose(snr, snr_matrix(references, estimates), atol=1e-9)


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silent_stems_are_not_matched(level):
  references, estimates = chunk([0, 1, 2])
  references[1] *= level
  match = match_channels(references, estimates)
  np.testing.assert_array_equal(match.outputs, [0, -1, 2])
  np.testing.assert_array_equal(
    np.isnan(match.snr), np.broadcast_to([[False], [True], [False]], (3, 6))
  )


@pytest.mark.parametrize(("level_db", "sounds"), [(-59.9, True), (-60.1, False)])
def test_a_stem_sounds_above_60_db_below_the_mixture(level_db, sounds):
  mixture = noise(2, 400)
  quiet = mixture * np.float32(10 ** (level_db / 20))
  references = np.stack([quiet, 3 * mixture - quiet, -2 * mixture])
  assert (match_channels(references, noise(6, 2, 400)).outputs[0] >= 0) == sounds


def test_a_silent_chunk_matches_nothing():
  references, estimates = chunk([0, 1, 2])
  match = match_channels(0 * references, estimates)
  np.testing.assert_array_equal(match.outputs, [-1, -1, -1])


def test_silent_and_perfect_outputs_have_finite_snrs():
  references, estimates = chunk([0, 1, 2])
  estimates[3] = 0.0
  estimates[0] = references[0]
  match = match_channels(references, estimates)
  np.testing.assert_allclose(match.snr[:, 3], 0.0, atol=1e-9)
  assert match.snr[0, 0] == pytest.approx(100.0, abs=1e-6)
  assert match.outputs[0] == 0


def test_both_channels_decide_unless_only_the_left_is_asked_for():
  references, estimates = chunk([0, 1])
  estimates[2:4] = estimates[:2]
  estimates[2, 1] = references[0, 1]  # better on the right only
  estimates[3, 0] *= 0.5  # worse on the left
  estimates[2, 0] += 0.01 * noise(400)
  np.testing.assert_array_equal(match_channels(references, estimates).outputs, [2, 1])
  left = match_channels(references, estimates, "left")
  np.testing.assert_array_equal(left.outputs, [0, 1])


def test_fewer_outputs_than_sounding_stems_leave_a_stem_out():
  references, estimates = chunk([0, 1, 1], num_outputs=2)
  match = match_channels(references, estimates)
  assert sorted(match.outputs) == [-1, 0, 1]


def test_the_choice_is_one_to_one_where_two_stems_prefer_one_output():
  # Output 0 has most votes of both stems: a in three chunks, b in two of five.
  places = [(0, 1), (0, 2), (0, 3), (4, 0), (5, 0)]
  chunks = [chunk(outputs, seed=seed) for seed, outputs in enumerate(places)]
  selection = vote_channels(chunks, stems=("a", "b"))
  assert np.argmax(selection.votes, axis=1).tolist() == [0, 0]
  assert len(set(selection.outputs)) == 2
  # a: 3 votes for output 0; b then has one vote each for 1, 2 and 3.
  assert selection.outputs[0] == 0
  assert selection.outputs[1] in (1, 2, 3)
  assert selection.confidence == pytest.approx((0.6, 0.2))
  each_by_itself = vote_channels(chunks, stems=("a", "b"), one_to_one=False)
  assert each_by_itself.outputs == (0, 0)
  assert each_by_itself.confidence == pytest.approx((0.6, 0.4))


def test_equal_votes_are_decided_by_the_snr():
  for better in (0, 1):
    levels = [2.0, 2.0]
    levels[better] = 0.1
    places = [(2, 4), (3, 4)]
    chunks = []
    for seed, (outputs, level) in enumerate(zip(places, levels, strict=True)):
      chunks.append(chunk(outputs, level=level, seed=seed))
    selection = vote_channels(chunks, stems=("a", "b"))
    assert selection.votes[0][2:4] == (1, 1)
    assert selection.outputs == (places[better][0], 4)


def test_snr_never_outweighs_a_vote():
  chunks = [chunk((2, 4), level=3.0, seed=seed) for seed in range(3)]
  chunks += [chunk((3, 4), level=0.0, seed=seed) for seed in (3, 4)]
  selection = vote_channels(chunks, stems=("a", "b"))
  assert selection.votes[0][2:4] == (3, 2)
  assert selection.outputs == (2, 4)


def test_silent_stems_do_not_vote():
  chunks = [chunk((0, 1), seed=seed) for seed in range(4)]
  chunks[3][0][1] = 0.0
  selection = vote_channels(chunks, stems=("a", "b"))
  assert sum(selection.votes[0]) == 4
  assert sum(selection.votes[1]) == 3
  expected = np.mean([snr_matrix(*c)[1, 1] for c in chunks[:3]])
  assert selection.mean_snr_db[1] == pytest.approx(expected)


def test_chunks_may_come_from_a_generator():
  chunks = [chunk((0, 1), seed=seed) for seed in range(2)]
  assert vote_channels((c for c in chunks), ("a", "b")) == vote_channels(
    chunks, ("a", "b")
  )


def split_chunk(seed):
  """Two stems, the first split over outputs 1, 3 and 4, the second in output 0."""
  parts = noise(3, 2, 400, seed=[seed, 0]) * np.float32([1, 0.7, 0.5])[:, None, None]
  second = noise(1, 2, 400, seed=[seed, 1])
  references = np.concatenate([parts.sum(axis=0, keepdims=True), second])
  estimates = 0.1 * noise(6, 2, 400, seed=[seed, 2])
  estimates[[1, 3, 4]] += parts
  estimates[0] += second[0]
  return references, estimates


def test_many_to_one_puts_a_split_stem_together():
  selection = vote_channels(
    [split_chunk(seed) for seed in range(3)], ("a", "b"), many_to_one=True
  )
  assert selection.outputs == (1, 0)
  assert selection.groups == ((1, 3, 4), (0,))
  assert selection.mean_snr_db[0] > 10.0


def test_many_to_one_leaves_a_stem_its_own_output():
  """Even where another stem would gain more from it."""
  references, estimates = chunk((0, 1), level=0.0)
  references[0] *= 10
  estimates[0] = references[0] - references[1]
  estimates[1] = 0.4 * references[1] + 0.5 * noise(2, 400, seed=3)
  selection = vote_channels([(references, estimates)], ("a", "b"), many_to_one=True)
  assert selection.groups == ((0,), (1,))


@pytest.mark.parametrize("seed", range(8))
def test_many_to_one_is_never_worse_and_close_to_the_best_grouping(seed):
  rng = np.random.default_rng(seed)
  chunks = []
  for _ in range(2):
    references = rng.standard_normal((2, 1, 50))
    weights = np.maximum(rng.normal(0.2, 0.4, (5, 2)), 0.0)
    estimates = np.einsum("mn,ncl->mcl", weights, references)
    chunks.append((references, estimates + 0.2 * rng.standard_normal((5, 1, 50))))
  single = vote_channels(chunks, ("a", "b"))
  grouped = vote_channels(chunks, ("a", "b"), many_to_one=True)
  assert single.groups == tuple((output,) for output in single.outputs)
  assert grouped.outputs == single.outputs
  assert [group[0] for group in grouped.groups] == list(grouped.outputs)
  used = [output for group in grouped.groups for output in group]
  assert len(used) == len(set(used))

  def mean_snr(groups):
    snrs = []
    for references, estimates in chunks:
      sums = np.stack([estimates[list(group)].sum(axis=0) for group in groups])
      snrs.append(np.diagonal(snr_matrix(references, sums)))
    return np.mean(snrs)

  assert np.mean(grouped.mean_snr_db) == pytest.approx(mean_snr(grouped.groups))
  assert mean_snr(grouped.groups) >= mean_snr(single.groups) - 1e-9
  free = [m for m in range(5) if m not in single.outputs]
  best = max(
    mean_snr(
      [
        (single.outputs[stem], *(m for m, s in zip(free, to, strict=True) if s == stem))
        for stem in range(2)
      ]
    )
    for to in itertools.product((-1, 0, 1), repeat=len(free))
  )
  assert mean_snr(grouped.groups) >= best - 0.3


def test_a_selection_survives_json():
  chunks = [split_chunk(seed) for seed in range(3)]
  selection = vote_channels(chunks, ("a", "b"), many_to_one=True)
  text = json.dumps({**selection.to_dict(), "weights": "run"})
  assert ChannelSelection.from_dict(json.loads(text)) == selection


@pytest.mark.parametrize(
  "change",
  [
    lambda values: values.pop("votes"),
    lambda values: values.update(outputs=["first", "second"]),
    lambda values: values.update(outputs=[0]),
    lambda values: values.update(groups=3),
  ],
)
def test_a_damaged_selection_is_refused(change):
  values = vote_channels([chunk((0, 1))], ("a", "b")).to_dict()
  change(values)
  with pytest.raises(UserError, match="run the selection again"):
    ChannelSelection.from_dict(values)


def test_selections_that_cannot_be_made_are_refused():
  references, estimates = chunk((0, 1))
  with pytest.raises(UserError, match="no chunk"):
    vote_channels([])
  with pytest.raises(UserError, match="1 outputs for 2 stems"):
    vote_channels([(references, estimates[:1])], ("a", "b"))
  references[1] = 0.0
  with pytest.raises(UserError, match="never heard b"):
    vote_channels([(references, estimates)], ("a", "b"))


def test_shapes_and_samples_that_do_not_fit_are_refused():
  references, estimates = chunk((0, 1))
  with pytest.raises(ValueError, match=r"\[N, C, L\]"):
    match_channels(references, estimates[..., 1:])
  with pytest.raises(ValueError, match="'all' or 'left'"):
    match_channels(references, estimates, "right")
  with pytest.raises(ValueError, match="3 stems"):
    vote_channels([(references, estimates)], ("a", "b", "c"))
  with pytest.raises(ValueError, match="equally many outputs"):
    vote_channels([(references, estimates), (references, estimates[:3])], ("a", "b"))
  for value in (np.nan, np.inf):
    estimates[0, 0, 0] = value
    with pytest.raises(ValueError, match="not finite"):
      match_channels(references, estimates)
