"""Weighted sums of the outputs of a pre-trained model, as stems."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.signal import istft, stft

from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import write_choice
from mixit_jax.evaluation.sums import fit_sums
from mixit_jax.separator.config import SeparatorConfig


def bands(*widths):
  """A model of windows of 64 samples."""
  sizes = {"num_blocks": 1, "embed_dim": 8, "ffn_dim": 8, "num_heads": 1}
  return SeparatorConfig(
    **sizes, num_groups=1, sample_rate=2000, n_fft=64, hop=16, bands=widths
  )


ONE = bands(33)


def noise(*shape, seed):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def song(mixing, seed, level=1.0, error=0.0, length=3000):
  """Stems [N, C, L] that are sums of the outputs [M, C, L], but for an error."""
  outputs = level * noise(len(mixing[0]), 2, length, seed=[seed, 0])
  stems = np.einsum("nm,mcl->ncl", mixing, outputs)
  stems += error * level * noise(*stems.shape, seed=[seed, 1])
  return stems.astype(np.float32), outputs.astype(np.float32)


def spectrum(signals):
  """Another library's spectrum, and what it needs to go back."""
  return stft(signals, window="hann", nperseg=64, noverlap=48)[2]


def split(signals, widths):
  """Signals [..., L] of each band, [K, ..., L]."""
  spectra, each, low = spectrum(signals), [], 0
  for width in widths:
    part = np.zeros_like(spectra)
    part[..., low : low + width, :] = spectra[..., low : low + width, :]
    each.append(istft(part, nperseg=64, noverlap=48)[1][..., : signals.shape[-1]])
    low += width
  return np.stack(each)


def sdrs(songs, weights, widths, ridge=0.0, pull=0.0, common=0.0):
  """SDR of every sum, averaged over songs; noise and differences count as errors."""
  table = []
  one_sided = np.r_[1, 2 * np.ones(31), 1][:, None]
  each = np.repeat(weights, widths, 2)  # [N, M, F]
  apart = np.repeat(weights - common, widths, 2)
  for chunks in songs:
    power, error = 0.0, 0.0
    for stems, outputs in chunks:
      s, o = spectrum(stems.astype(float)), spectrum(outputs.astype(float))
      power += np.sum(one_sided * abs(s) ** 2, axis=(1, 2, 3))
      left = s - np.einsum("nmf,mcft->ncft", each, o)
      error += np.sum(one_sided * abs(left) ** 2, axis=(1, 2, 3))
      energy = np.sum(one_sided * abs(o) ** 2, axis=(1, 3))  # [M, F]
      error += np.einsum("nmf,mf->n", ridge * each**2 + pull * apart**2, energy)
    table.append(10 * np.log10(power / error))
  return np.mean(table, axis=0)


def test_sums_are_found():
  mixing = [[0, 1, 1, 0, 0.5, 0], [1, 0, 0, 0, 0.5, 0]]
  chunks = [song(mixing, seed) for seed in range(3)]
  found = fit_sums([chunks], ("a", "b"), bands(10, 23), ridge=0)
  expected = np.repeat(np.array(mixing)[..., None], 2, axis=2)
  np.testing.assert_allclose(found.sums, expected, atol=1e-3)
  assert min(found.sdr_db) > 60
  assert found.single_sdr_db[0] < 5


def test_sums_differ_between_bands_where_outputs_do():
  """The first output holds the low notes of one stem and the high ones of another."""
  widths = (8, 12, 13)
  a, b = (noise(2, 6000, seed=seed) for seed in range(2))
  low, high = (
    sum(split(x, widths)[i] for i in part) for x, part in ((a, [0]), (b, [1, 2]))
  )
  stems = np.stack([a, b]).astype(np.float32)
  outputs = np.stack([low + high, a - low, b - high]).astype(np.float32)
  found = fit_sums([[(stems, outputs)]], ("a", "b"), bands(*widths), 1e-3, 1e-3)
  weights = np.array(found.sums)
  np.testing.assert_allclose(weights[:, 0].T, [[1, 0], [0, 1], [0, 1]], atol=0.1)
  alike = fit_sums([[(stems, outputs)]], ("a", "b"), bands(*widths), 1e-3, 1e9)
  assert np.ptp(alike.sums, axis=2).max() < 1e-3
  assert min(np.subtract(found.sdr_db, alike.sdr_db)) > 5


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("ridge", "pull"), [(0.0, 0.5), (0.3, 1.0)])
def test_no_search_finds_better_weights(seed, ridge, pull):
  """Songs of unequal level, parts that no output holds: against another optimizer."""
  widths = (10, 23)
  mixing = np.random.default_rng(seed).dirichlet(0.3 * np.ones(4), size=2)
  songs = [
    [song(mixing, [seed, number, part], 10.0 ** (number - 1), 0.3 * (1 + number), 800)]
    for number in range(3)
    for part in range(2)
  ]
  found = fit_sums(songs, ("a", "b"), bands(*widths), ridge, pull)
  weights = np.array(found.sums)
  np.testing.assert_allclose(found.sdr_db, sdrs(songs, weights, widths), atol=0.05)

  def best(score, start):
    return minimize(lambda flat: -score(flat).mean(), start.ravel(), tol=1e-7).x

  def common(flat):
    return np.repeat(flat.reshape(2, 4, 1), 2, axis=2)

  shared = common(
    best(lambda flat: sdrs(songs, common(flat), widths, ridge), np.full((2, 4), 0.2))
  )
  rules = (widths, ridge, pull, shared)
  searched = best(lambda flat: sdrs(songs, flat.reshape(2, 4, 2), *rules), shared)
  np.testing.assert_allclose(weights, searched.reshape(2, 4, 2), atol=0.02)
  reached = sdrs(songs, weights, *rules).mean()
  assert reached >= sdrs(songs, searched.reshape(2, 4, 2), *rules).mean() - 0.01
  assert all(np.subtract(found.sdr_db, found.single_sdr_db) > -1e-6) or ridge


def test_the_ridge_makes_weights_small_where_little_is_certain():
  """Two outputs that are alike: their difference is not worth large weights."""
  stems, outputs = song([[1, 0], [0, 1]], 0)
  outputs[1] = outputs[0] + 0.05 * outputs[1]
  bold, careful = (
    np.abs(fit_sums([[(stems, outputs)]], ("a", "b"), ONE, ridge).sums).max()
    for ridge in (0.0, 0.3)
  )
  assert bold > 10
  assert careful < 1


def test_one_loud_song_does_not_decide_alone():
  loud, soft = song([[1, 0]], 0, level=100.0), song([[0, 1]], 1)
  weights = fit_sums([[loud], [soft], [song([[0, 1]], 2)]], ("a",), ONE, 0.1).sums[0]
  assert weights[1][0] > weights[0][0]


@pytest.mark.parametrize(
  ("chunks", "words"),
  [
    ([], "found no chunk"),
    ([(noise(2, 2, 90, seed=0), noise(1, 2, 90, seed=1))], "has 1 outputs for 2 stems"),
    (
      [(noise(2, 2, 90, seed=0) * [[[1]], [[0]]], noise(3, 2, 90, seed=1))],
      "no chunk with drums",
    ),
  ],
)
def test_songs_that_do_not_serve_are_refused(chunks, words):
  with pytest.raises(UserError, match=words):
    fit_sums([chunks], ("voice", "drums"), ONE)


def test_a_stem_counts_only_in_songs_in_which_it_sounds():
  mixing = [[1, 1, 0, 0], [0, 0, 1, 1]]
  without = [[1, 1, 1, 0], [0, 0, 0, 0]]
  found = fit_sums([[song(mixing, 0)], [song(without, 1)], []], ("a", "b"), ONE, 0)
  np.testing.assert_allclose(np.array(found.sums)[1, :, 0], mixing[1], atol=1e-3)
  assert found.sdr_db[1] > 60


def test_silent_outputs_have_no_weight():
  stems, outputs = song([[1, 0, 1], [1, 1, 0]], 0)
  outputs[2] = 0
  weights = np.array(fit_sums([[(stems, outputs)]], ("a", "b"), ONE).sums)
  assert np.isfinite(weights).all()
  assert not weights[:, 2].any()


def test_sums_are_stored_with_their_weights(tmp_path):
  found = fit_sums([[song([[1, 0, 0], [0, 1, 1]], 0)]], ("a", "b"), ONE, ridge=0)
  write_choice(tmp_path / "sums.json", found, {"run": "runs/a"})
  stored = json.loads((tmp_path / "sums.json").read_text())
  np.testing.assert_allclose(
    np.array(stored["sums"])[..., 0], [[1, 0, 0], [0, 1, 1]], atol=1e-3
  )
  assert stored["weights"] == {"run": "runs/a"}
