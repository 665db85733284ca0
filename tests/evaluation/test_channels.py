import itertools
import json

import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import match_channels, vote_channels, write_choice
from mixit_jax.stems import STEMS


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


def test_selection_counts_the_reference_votes(vectors):
  chunks = list(zip(vectors["references"], vectors["estimates"], strict=True))
  selection = vote_channels(chunks, channels="left")
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


def test_the_snr_of_a_selection_is_that_of_its_outputs():
  chunks = [chunk((0, 1), seed=seed) for seed in range(3)]
  selection = vote_channels(chunks, ("a", "b"))
  snrs = [
    np.diagonal(snr_matrix(references, estimates[list(selection.outputs)]))
    for references, estimates in chunks
  ]
  assert selection.mean_snr_db == pytest.approx(np.mean(snrs, axis=0))


def test_a_selection_is_stored_with_the_card_of_its_weights(tmp_path):
  selection = vote_channels([chunk((0, 1))], ("a", "b"))
  write_choice(tmp_path / "selection.json", selection, {"run": "runs/a"})
  stored = json.loads((tmp_path / "selection.json").read_text())
  assert stored["outputs"] == list(selection.outputs)
  assert stored["weights"] == {"run": "runs/a"}


def test_selections_that_cannot_be_made_are_refused():
  references, estimates = chunk((0, 1))
  with pytest.raises(UserError, match="no chunk"):
    vote_channels([])
  with pytest.raises(UserError, match="1 outputs for 2 stems"):
    vote_channels([(references, estimates[:1])], ("a", "b"))
  references[1] = 0.0
  with pytest.raises(UserError, match="no chunk with b"):
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
