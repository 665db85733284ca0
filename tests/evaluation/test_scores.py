import numpy as np
import pytest

from mixit_jax.evaluation.scores import csdr, framewise_sdr, usdr

RATE = 1000


def song(num_sources=3, seconds=4.5, num_channels=2, seed=0):
  """References and estimates [N, C, L] with errors of -10, -11, … dB."""
  rng = np.random.default_rng(seed)
  shape = (num_sources, num_channels, int(seconds * RATE))
  references = rng.standard_normal(shape).astype(np.float32)
  level = 10 ** (-(10 + np.arange(num_sources)) / 20)
  noise = rng.standard_normal(shape) * level[:, None, None]
  return references, (references + noise).astype(np.float32)


@pytest.fixture(scope="module")
def vectors(fixtures):
  loaded = dict(np.load(fixtures / "metrics.npz"))
  for name in ("references", "estimates"):
    loaded[name] = loaded[name].transpose(0, 2, 1)
  return loaded


def test_framewise_sdr_equals_museval(vectors):
  ratios = framewise_sdr(
    vectors["references"], vectors["estimates"], int(vectors["sample_rate"])
  )
  expected = vectors["museval_framewise_sdr"]
  assert np.isnan(expected).any()
  np.testing.assert_allclose(ratios, expected, rtol=0, atol=1e-6)


def test_csdr_equals_museval(vectors):
  scores = csdr(
    vectors["references"], vectors["estimates"], int(vectors["sample_rate"])
  )
  np.testing.assert_allclose(scores, vectors["csdr"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("convention", ["mdx", "per_channel"])
def test_usdr_equals_the_reference_vectors(vectors, convention):
  scores = usdr(vectors["references"], vectors["estimates"], convention)
  np.testing.assert_allclose(scores, vectors[f"usdr_{convention}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("gain", [1e-4, 0.5, 3e4])
def test_scores_ignore_a_common_gain(gain):
  references, estimates = song()
  louder = (np.float32(gain) * references, np.float32(gain) * estimates)
  for score in (
    lambda y, x: usdr(y, x),
    lambda y, x: usdr(y, x, "per_channel"),
    lambda y, x: framewise_sdr(y, x, RATE),
    lambda y, x: csdr(y, x, RATE),
  ):
    np.testing.assert_allclose(score(*louder), score(references, estimates), atol=1e-5)


def test_long_songs_are_summed_to_the_last_sample():
  references = np.ones((1, 1, 200_001))
  estimates = references.copy()
  estimates[..., -1] = 0.0
  np.testing.assert_allclose(usdr(references, estimates), 10 * np.log10(200_001))


def test_scores_read_any_precision_and_leave_their_input_alone():
  references, estimates = song()
  kept = references.copy(), estimates.copy()
  scores = usdr(references, estimates), csdr(references, estimates, RATE)
  np.testing.assert_array_equal(kept, (references, estimates))
  doubles = references.astype(np.float64), estimates.astype(np.float64)
  np.testing.assert_array_equal(scores, (usdr(*doubles), csdr(*doubles, RATE)))
  assert scores[0].dtype == np.float64


def test_conventions_agree_on_equal_channels_and_differ_on_one_sided_stems():
  references, estimates = song()
  references[:, 1], estimates[:, 1] = references[:, 0], estimates[:, 0]
  np.testing.assert_allclose(
    usdr(references, estimates), usdr(references, estimates, "per_channel")
  )
  references[:, 1] *= 1e-3  # 60 dB quieter on the right, with the same errors
  estimates[:, 1] = references[:, 1] + estimates[:, 0] - references[:, 0]
  gap = usdr(references, estimates) - usdr(references, estimates, "per_channel")
  np.testing.assert_allclose(gap, 30.0 - 10 * np.log10(2), atol=0.1)


def test_a_channel_that_is_silent_in_the_reference_is_left_out_per_channel():
  references, estimates = song()
  references[:, 1] = 0.0
  np.testing.assert_allclose(
    usdr(references, estimates, "per_channel"),
    usdr(references[:, :1], estimates[:, :1]),
  )
  # Pooled, what leaks into that channel counts as an error.
  assert np.all(usdr(references, estimates) < usdr(references[:, :1], estimates[:, :1]))


@pytest.mark.parametrize("convention", ["mdx", "per_channel"])
def test_usdr_of_a_silent_reference_is_nan_and_of_a_silent_estimate_zero(convention):
  references, estimates = song()
  references[0] = 0.0
  estimates[1] = 0.0
  scores = usdr(references, estimates, convention)
  assert np.isnan(scores[0])
  np.testing.assert_allclose(scores[1], 0.0, atol=1e-12)
  assert scores[2] > 10.0
  estimates[0] = 0.0
  assert np.isnan(usdr(references, estimates, convention)[0])


def test_a_perfect_estimate_scores_infinity():
  references, _ = song()
  for convention in ("mdx", "per_channel"):
    np.testing.assert_array_equal(usdr(references, references, convention), np.inf)
  np.testing.assert_array_equal(csdr(references, references, RATE), np.inf)


@pytest.mark.parametrize("which", ["reference", "estimate"])
def test_a_frame_with_a_silent_stem_is_nan_for_all_stems(which):
  references, estimates = song()
  {"reference": references, "estimate": estimates}[which][1, :, 2000:3000] = 0.0
  ratios = framewise_sdr(references, estimates, RATE)
  np.testing.assert_array_equal(
    np.isnan(ratios), np.broadcast_to([False, False, True, False], (3, 4))
  )
  np.testing.assert_allclose(
    csdr(references, estimates, RATE), np.nanmedian(ratios, axis=1)
  )


def test_a_frame_of_opposite_channels_counts_as_silent_as_in_museval():
  references, estimates = song()
  references[0, 1, :1000] = -references[0, 0, :1000]
  ratios = framewise_sdr(references, estimates, RATE)
  assert np.isnan(ratios[:, 0]).all()
  assert np.isfinite(ratios[:, 1:]).all()


def test_csdr_is_nan_where_no_frame_has_all_stems():
  references, estimates = song()
  references[2] = 0.0
  np.testing.assert_array_equal(csdr(references, estimates, RATE), np.nan)


def test_the_last_partial_second_is_dropped():
  references, estimates = song(seconds=4.5)
  estimates[..., 4000:] = 100.0
  ratios = framewise_sdr(references, estimates, RATE)
  assert ratios.shape == (3, 4)
  whole = framewise_sdr(references[..., :4000], estimates[..., :4000], RATE)
  np.testing.assert_array_equal(ratios, whole)


def test_a_recording_shorter_than_a_second_is_one_frame():
  references, estimates = song(seconds=0.4)
  ratios = framewise_sdr(references, estimates, RATE)
  np.testing.assert_allclose(ratios[:, 0], usdr(references, estimates))
  np.testing.assert_array_equal(csdr(references, estimates, RATE), ratios[:, 0])


def test_estimates_that_are_not_finite_score_nan():
  references, estimates = song()
  estimates[1, 0, 10] = np.nan
  assert np.isnan(usdr(references, estimates)[1])
  scores = csdr(references, estimates, RATE)
  assert np.isnan(scores[1])
  assert np.isfinite(scores[[0, 2]]).all()


def test_shapes_and_settings_that_do_not_fit_are_refused():
  references, estimates = song()
  with pytest.raises(ValueError, match="differ in shape"):
    usdr(references, estimates[:2])
  with pytest.raises(ValueError, match="N, C, L"):
    csdr(references[0], estimates[0], RATE)
  with pytest.raises(ValueError, match="no samples"):
    framewise_sdr(references[..., :0], estimates[..., :0], RATE)
  with pytest.raises(ValueError, match="positive"):
    csdr(references, estimates, 0)
  with pytest.raises(ValueError, match="'mdx' or 'per_channel'"):
    usdr(references, estimates, "museval")
