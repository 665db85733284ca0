"""Weighted sums of the outputs of a pre-trained model, as stems."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize

from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import write_choice
from mixit_jax.evaluation.sums import fit_sums


def noise(*shape, seed):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def song(mixing, seed, level=1.0, error=0.0, length=3000):
  """Stems [N, C, L] that are sums of the outputs [M, C, L], but for an error."""
  outputs = level * noise(len(mixing[0]), 2, length, seed=[seed, 0])
  stems = np.einsum("nm,mcl->ncl", mixing, outputs)
  stems += error * level * noise(*stems.shape, seed=[seed, 1])
  return stems.astype(np.float32), outputs.astype(np.float32)


def sdrs(songs, weights, ridge=0.0):
  """SDR of every sum from waveforms, averaged over songs; noise may count as error."""
  table = []
  for chunks in songs:
    stems, outputs = (
      np.concatenate(part, -1).astype(float) for part in zip(*chunks, strict=True)
    )
    sums = np.einsum("nm,mcl->ncl", weights, outputs)
    error = np.sum((stems - sums) ** 2, axis=(1, 2))
    error += ridge * np.square(weights) @ np.sum(outputs**2, axis=(1, 2))
    table.append(10 * np.log10(np.sum(stems**2, axis=(1, 2)) / error))
  return np.mean(table, axis=0)


def test_sums_are_found():
  mixing = [[0, 1, 1, 0, 0.5, 0], [1, 0, 0, 0, 0.5, 0]]
  chunks = [song(mixing, seed) for seed in range(3)]
  found = fit_sums([chunks], ("a", "b"), ridge=0)
  np.testing.assert_allclose(found.sums, mixing, atol=1e-3)
  assert min(found.sdr_db) > 60
  assert found.single_sdr_db[0] < 5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_no_search_finds_better_weights(seed, ridge):
  """Songs of unequal level, parts that no output holds: against another optimizer."""
  mixing = np.random.default_rng(seed).dirichlet(0.3 * np.ones(5), size=2)
  songs = [
    [song(mixing, [seed, number, part], 10.0 ** (number - 1), 0.3 * (1 + number), 500)]
    for number in range(3)
    for part in range(2)
  ]
  found = fit_sums(songs, ("a", "b"), ridge)
  np.testing.assert_allclose(found.sdr_db, sdrs(songs, found.sums), atol=1e-4)
  reached = sdrs(songs, found.sums, ridge).mean()
  searched = minimize(
    lambda flat: -sdrs(songs, flat.reshape(2, 5), ridge).mean(), np.full(10, 0.2)
  )
  assert reached >= -searched.fun - 1e-6
  assert all(np.subtract(found.sdr_db, found.single_sdr_db) > -1e-6) or ridge


def test_the_ridge_makes_weights_small_where_little_is_certain():
  """Two outputs that are alike: their difference is not worth large weights."""
  stems, outputs = song([[1, 0], [0, 1]], 0)
  outputs[1] = outputs[0] + 0.05 * outputs[1]
  bold, careful = (
    np.abs(fit_sums([[(stems, outputs)]], ("a", "b"), ridge).sums).max()
    for ridge in (0.0, 0.3)
  )
  assert bold > 10
  assert careful < 1


def test_one_loud_song_does_not_decide_alone():
  loud, soft = song([[1, 0]], 0, level=100.0), song([[0, 1]], 1)
  weights = fit_sums([[loud], [soft], [song([[0, 1]], 2)]], ("a",), 0.1).sums[0]
  assert weights[1] > weights[0]


@pytest.mark.parametrize(
  ("chunks", "words"),
  [
    ([], "found no chunk"),
    ([(noise(2, 2, 9, seed=0), noise(1, 2, 9, seed=1))], "has 1 outputs for 2 stems"),
    (
      [(noise(2, 2, 9, seed=0) * [[[1]], [[0]]], noise(3, 2, 9, seed=1))],
      "no chunk with drums",
    ),
  ],
)
def test_songs_that_do_not_serve_are_refused(chunks, words):
  with pytest.raises(UserError, match=words):
    fit_sums([chunks], ("voice", "drums"))


def test_a_stem_counts_only_in_songs_in_which_it_sounds():
  mixing = [[1, 1, 0, 0], [0, 0, 1, 1]]
  without = [[1, 1, 1, 0], [0, 0, 0, 0]]
  found = fit_sums([[song(mixing, 0)], [song(without, 1)], []], ("a", "b"), 0)
  np.testing.assert_allclose(found.sums[1], mixing[1], atol=1e-3)
  assert found.sdr_db[1] > 60


def test_silent_outputs_have_no_weight():
  stems, outputs = song([[1, 0, 1], [1, 1, 0]], 0)
  outputs[2] = 0
  weights = np.array(fit_sums([[(stems, outputs)]], ("a", "b")).sums)
  assert np.isfinite(weights).all()
  assert not weights[:, 2].any()


def test_sums_are_stored_with_their_weights(tmp_path):
  found = fit_sums([[song([[1, 0, 0], [0, 1, 1]], 0)]], ("a", "b"), ridge=0)
  write_choice(tmp_path / "sums.json", found, {"run": "runs/a"})
  stored = json.loads((tmp_path / "sums.json").read_text())
  np.testing.assert_allclose(stored["sums"], [[1, 0, 0], [0, 1, 1]], atol=1e-3)
  assert stored["weights"] == {"run": "runs/a"}
