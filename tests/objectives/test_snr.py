import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.objectives.snr import inactive_snr_loss, thresholded_snr_loss


def signals(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def vectors(fixtures):
  return dict(np.load(fixtures / "losses.npz"))


def test_thresholded_loss_equals_the_reference_vectors(vectors):
  loss = thresholded_snr_loss(
    vectors["stem_references"][:1, :1], vectors["stem_estimates"][:1, :1]
  )
  np.testing.assert_allclose(loss, vectors["thresholded_snr_loss"], atol=1e-4)


def test_inactive_loss_equals_the_reference_vectors(vectors):
  loss = inactive_snr_loss(vectors["stem_references"], vectors["stem_estimates"])
  np.testing.assert_allclose(loss, vectors["inactive_snr_loss"], atol=1e-4)


@pytest.mark.parametrize(("tau", "best"), [(1e-3, -30.0), (1e-2, -20.0)])
def test_perfect_estimate_reaches_the_threshold(tau, best):
  reference = signals(2, 500)
  np.testing.assert_allclose(
    thresholded_snr_loss(reference, reference, tau), [best, best], atol=1e-4
  )


def test_loss_is_the_negative_snr_far_from_the_threshold():
  reference, noise = signals(500), signals(500, seed=1)
  noise *= np.linalg.norm(reference) / np.linalg.norm(noise) / np.sqrt(10)  # 10 dB
  loss = thresholded_snr_loss(reference, reference + noise, tau=0.0)
  np.testing.assert_allclose(loss, -10.0, atol=1e-4)


def test_gradient_equals_its_closed_form():
  reference, estimate = signals(100), signals(100, seed=1)
  gradient = jax.grad(thresholded_snr_loss, argnums=1)(reference, estimate)
  error = np.sum((reference - estimate) ** 2) + 1e-3 * np.sum(reference**2)
  expected = 20 / np.log(10) * (estimate - reference) / error
  np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_estimates_in_bfloat16_are_compared_in_float32():
  reference = signals(3, 1000)
  estimate = jnp.asarray(signals(3, 1000, seed=1), jnp.bfloat16)
  loss = thresholded_snr_loss(reference, estimate)
  assert loss.dtype == jnp.float32
  np.testing.assert_array_equal(
    loss, thresholded_snr_loss(reference, estimate.astype(jnp.float32))
  )


@pytest.mark.parametrize("silent_reference", [False, True])
@pytest.mark.parametrize("silent_estimate", [False, True])
def test_silence_gives_finite_losses_and_gradients(silent_reference, silent_estimate):
  references = signals(1, 3, 2, 50) * (not silent_reference)
  estimates = signals(1, 3, 2, 50, seed=1) * (not silent_estimate)
  for loss in (thresholded_snr_loss, inactive_snr_loss):
    value, gradient = jax.value_and_grad(
      lambda x, loss=loss: jnp.sum(loss(references, x))
    )(estimates)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_a_stem_counts_as_active_above_60_db_below_the_mixture():
  mixture = signals(1, 2, 400)
  for level_db, active in ((-59.9, True), (-60.1, False)):
    stem = mixture * 10 ** (level_db / 20)
    references = np.stack([stem, mixture - stem], axis=1)
    estimates = references + 0.01 * signals(1, 2, 2, 400, seed=1)
    error = np.sum((references - estimates) ** 2, axis=-1)[0]
    power = np.sum(references**2, axis=-1)[0]
    whole = np.sum(mixture**2, axis=-1)[0]
    first = (
      10 * np.log10((error[0] + 1e-3 * power[0]) / power[0])
      if active
      else np.log10(error[0] + 1e-3 * whole)
    )
    second = 10 * np.log10((error[1] + 1e-3 * power[1]) / power[1])
    np.testing.assert_allclose(
      inactive_snr_loss(references, estimates)[0], (first + second) / 2, atol=1e-3
    )


def test_activity_is_decided_per_channel():
  references = signals(1, 2, 2, 300)
  references[0, 0, 1] = 0.0  # the first stem is one-sided
  estimates = references + 0.1 * signals(1, 2, 2, 300, seed=1)
  loss = inactive_snr_loss(references, estimates)
  left = jnp.mean(thresholded_snr_loss(references, estimates)[:, :, 0], axis=1)
  np.testing.assert_allclose(loss[:, 0], left, atol=1e-5)
  weightless = inactive_snr_loss(references, estimates, inactive_weight=0.0)
  np.testing.assert_array_equal(weightless[:, 0], loss[:, 0])
  assert abs(float(weightless[0, 1] - loss[0, 1])) > 0.1


def test_a_given_mixture_replaces_the_sum_of_the_stems():
  references = signals(2, 3, 2, 200)
  references[:, 0] = 0.0
  estimates = references + 0.1 * signals(2, 3, 2, 200, seed=1)
  total = references.sum(axis=1)
  loss = inactive_snr_loss(references, estimates)
  np.testing.assert_allclose(
    inactive_snr_loss(references, estimates, total), loss, atol=1e-5
  )
  louder = inactive_snr_loss(references, estimates, 10 * total)
  assert np.all(np.asarray(louder) > np.asarray(loss) + 0.1)


def test_shapes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="differ in shape"):
    thresholded_snr_loss(signals(2, 10), signals(1, 10))
  with pytest.raises(ValueError, match="B, N, C, L"):
    inactive_snr_loss(signals(2, 2, 10), signals(2, 2, 10))
  with pytest.raises(ValueError, match="mixture must be"):
    inactive_snr_loss(signals(2, 3, 2, 10), signals(2, 3, 2, 10), signals(2, 3, 10))
