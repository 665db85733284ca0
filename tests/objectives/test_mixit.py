import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.objectives.mixit import (
  assign,
  make_mixtures_of_mixtures,
  mixit_loss,
  mixit_statistics,
  remix,
  trivial_split_loss,
)


def loss_of(estimates, mixtures, mix_matrix):
  return mixit_loss(remix(estimates, mix_matrix), mixtures)


def assigned_loss(estimates, mixtures, assignment):
  mix_matrix = assign(jax.lax.stop_gradient(estimates), mixtures, assignment)
  return loss_of(estimates, mixtures, mix_matrix), mix_matrix


@jax.jit
def statistics(estimates, mixtures, mix_matrix):
  loss = loss_of(estimates, mixtures, mix_matrix)
  return mixit_statistics(loss, estimates, mixtures, mix_matrix)


trivial_loss = jax.jit(trivial_split_loss, static_argnums=1)

compiled_loss = jax.jit(assigned_loss, static_argnums=2)


def signals(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def scene():
  """Four outputs [4, 4, 2, 200]: sources of two mixtures, 0 and 2 in the first."""
  sources = signals(4, 4, 2, 200)
  mixtures = np.stack([sources[:, ::2].sum(axis=1), sources[:, 1::2].sum(axis=1)], 1)
  return sources + 0.1 * signals(4, 4, 2, 200, seed=1), mixtures


@pytest.fixture(scope="module", params=["efficient", "exact"])
def value_and_gradient(request):
  """Compiled mean MixIT loss, its assignment and its gradient."""

  def mean_loss(estimates, mixtures):
    loss, mix_matrix = assigned_loss(estimates, mixtures, request.param)
    return jnp.mean(loss), mix_matrix

  return jax.jit(jax.value_and_grad(mean_loss, has_aux=True))


def test_mixtures_are_scaled_to_the_asked_ratio_and_summed():
  segments = signals(3, 2, 2, 400) * np.float32([[0.1], [2.0], [1.0]])[..., None, None]
  segments[1, 1, 1] = 0.0  # one-sided: the power of both channels counts
  ratio_db = np.float32([-5.0, 0.0, 4.2])
  mom, mixtures = make_mixtures_of_mixtures(segments, ratio_db)
  power = np.sum(np.square(np.asarray(mixtures, np.float64)), axis=(2, 3))
  np.testing.assert_allclose(
    10 * np.log10(power[:, 0] / power[:, 1]), ratio_db, atol=1e-4
  )
  np.testing.assert_array_equal(mixtures[:, 1], segments[:, 1])
  np.testing.assert_allclose(mom, np.sum(mixtures, axis=1), atol=1e-6)
  gain = np.asarray(mixtures)[:, 0] / segments[:, 0]
  np.testing.assert_allclose(gain, np.broadcast_to(gain[:, :1, :1], gain.shape), 1e-5)


@pytest.mark.parametrize("level", [0.0, 1e-5])
@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_segment_leaves_the_pair_as_it_is(silent, level):
  segments = signals(2, 2, 2, 100)
  segments[0, silent] *= level
  mom, mixtures = make_mixtures_of_mixtures(segments, np.float32([5.0, 5.0]))
  np.testing.assert_array_equal(mixtures[0], segments[0])
  np.testing.assert_allclose(mom[0], segments[0].sum(axis=0), atol=1e-6)
  assert not np.allclose(mixtures[1, 0], segments[1, 0])


def test_segments_that_are_no_pairs_are_refused():
  with pytest.raises(ValueError, match=r"\[B, 2, C, L\]"):
    make_mixtures_of_mixtures(signals(2, 3, 2, 10), np.zeros(2, np.float32))


def test_remix_sums_the_outputs_of_each_mixture():
  estimates = signals(2, 3, 2, 10)
  mix_matrix = np.float32([[[1, 0, 1], [0, 1, 0]], [[0, 0, 0], [1, 1, 1]]])
  mixed = np.asarray(remix(estimates, mix_matrix))
  np.testing.assert_allclose(mixed[0, 0], estimates[0, 0] + estimates[0, 2], atol=1e-6)
  np.testing.assert_allclose(mixed[0, 1], estimates[0, 1], atol=1e-6)
  np.testing.assert_array_equal(mixed[1, 0], 0.0)
  np.testing.assert_allclose(mixed[1, 1], estimates[1].sum(axis=0), atol=1e-6)


def test_separated_sources_go_back_to_their_mixtures(scene, value_and_gradient):
  (loss, mix_matrix), _ = value_and_gradient(*scene)
  expected = [[1, 0, 1, 0], [0, 1, 0, 1]]
  np.testing.assert_array_equal(mix_matrix, np.broadcast_to(expected, (4, 2, 4)))
  # Two noises of 1/100 of the power of two sources, 20 dB, over the threshold.
  assert -20.2 < float(loss) < -19.0


def test_gradient_is_that_of_the_loss_with_the_assignment_fixed(
  scene, value_and_gradient
):
  estimates, mixtures = signals(4, 4, 2, 200, seed=2), scene[1]
  (loss, mix_matrix), gradient = value_and_gradient(estimates, mixtures)
  fixed_loss, fixed_gradient = jax.value_and_grad(
    lambda x: jnp.mean(loss_of(x, mixtures, mix_matrix))
  )(estimates)
  np.testing.assert_allclose(loss, fixed_loss, atol=1e-5)
  np.testing.assert_allclose(gradient, fixed_gradient, atol=1e-7)
  assert np.abs(gradient).max() > 1e-4


def test_outputs_in_bfloat16_are_assigned_in_float32(scene, value_and_gradient):
  estimates = jnp.asarray(scene[0], jnp.bfloat16)
  (loss, mix_matrix), gradient = value_and_gradient(estimates, scene[1])
  (exact_loss, exact_matrix), _ = value_and_gradient(
    np.asarray(estimates, np.float32), scene[1]
  )
  assert gradient.dtype == jnp.bfloat16
  np.testing.assert_allclose(loss, exact_loss, atol=1e-5)
  np.testing.assert_array_equal(mix_matrix, exact_matrix)


@pytest.mark.parametrize("silent", ["first", "second", "both", "outputs", "all"])
def test_silence_gives_finite_losses_and_gradients(scene, value_and_gradient, silent):
  estimates, mixtures = scene[0].copy(), scene[1].copy()
  if silent in ("first", "both", "all"):
    mixtures[:, 0] = 0.0
  if silent in ("second", "both", "all"):
    mixtures[:, 1] = 0.0
  if silent in ("outputs", "all"):
    estimates[:] = 0.0
  (loss, mix_matrix), gradient = value_and_gradient(estimates, mixtures)
  assert np.isfinite(loss)
  assert np.isfinite(gradient).all()
  np.testing.assert_array_equal(np.sum(mix_matrix, axis=1), 1.0)
  for value in statistics(estimates, mixtures, mix_matrix).values():
    assert np.isfinite(value).all()


def test_an_unknown_assignment_is_refused(scene):
  with pytest.raises(UserError, match=r"'efficient' or 'exact'.*'greedy'"):
    assign(*scene, "greedy")


@pytest.mark.parametrize("num_sources", [1, 4])
def test_trivial_split_loss_is_the_exact_loss_of_equal_outputs(num_sources):
  mixtures = signals(4, 2, 2, 200) * np.float32([1.0, 1.7])[:, None, None]
  mixtures[1, 0] = 0.5 * mixtures[1, 1] + 0.1 * mixtures[1, 0]  # correlated
  mixtures[2, 0] = -mixtures[2, 1]  # cancelling
  mixtures[3, 1] = 0.0  # silent
  mom = mixtures.sum(axis=1, keepdims=True)
  outputs = np.repeat(mom / num_sources, num_sources, axis=1)
  loss, _ = compiled_loss(outputs, mixtures, "exact")
  np.testing.assert_allclose(trivial_loss(mixtures, num_sources), loss, atol=1e-3)


def test_statistics_of_separated_outputs(scene):
  mix_matrix = np.broadcast_to(np.float32([[1, 0, 1, 0], [0, 1, 0, 1]]), (4, 2, 4))
  values = statistics(*scene, mix_matrix)
  loss = loss_of(*scene, mix_matrix)
  np.testing.assert_allclose(
    values["improvement_db"], trivial_loss(scene[1], 4) - loss, atol=1e-5
  )
  assert np.all(np.asarray(values["improvement_db"]) > 15.0)
  np.testing.assert_array_equal(values["active_outputs"], 4.0)
  np.testing.assert_allclose(values["assignment_entropy"], 1.0, atol=1e-6)
  # Four independent outputs of equal power: a quarter of the mom each.
  np.testing.assert_allclose(values["output_energy_db"], -6.0, atol=1.5)


def test_a_model_that_copies_its_input_improves_nothing(scene):
  mixtures = scene[1]
  copies = np.repeat(mixtures.sum(axis=1, keepdims=True) / 4, 4, axis=1)
  _, exact_matrix = compiled_loss(copies, mixtures, "exact")
  exact = statistics(copies, mixtures, exact_matrix)
  np.testing.assert_allclose(exact["improvement_db"], 0.0, atol=1e-4)
  np.testing.assert_allclose(exact["output_energy_db"], -20 * np.log10(4), atol=1e-4)
  _, efficient_matrix = compiled_loss(copies, mixtures, "efficient")
  efficient = statistics(copies, mixtures, efficient_matrix)
  assert np.all(np.asarray(efficient["improvement_db"]) < 0.0)


def test_assignment_entropy_and_active_outputs_show_collapse(scene):
  estimates, mixtures = scene[0].copy(), scene[1]
  to_first = np.zeros((4, 2, 4), np.float32)
  to_first[:, 0] = 1.0
  values = statistics(estimates, mixtures, to_first)
  np.testing.assert_allclose(values["assignment_entropy"], 0.0, atol=1e-6)
  np.testing.assert_array_equal(values["active_outputs"], 4.0)
  # Inactive outputs do not count, wherever they go.
  estimates[:, 1:] *= 1e-3
  spread = np.broadcast_to(np.float32([[1, 0, 1, 0], [0, 1, 0, 1]]), (4, 2, 4))
  values = statistics(estimates, mixtures, spread)
  np.testing.assert_array_equal(values["active_outputs"], 1.0)
  np.testing.assert_allclose(values["assignment_entropy"], 0.0, atol=1e-6)
  # One of three: H(1/3) = 0.918 bits.
  values = statistics(
    scene[0] * np.float32([1, 1, 1, 0])[:, None, None], mixtures, spread
  )
  np.testing.assert_array_equal(values["active_outputs"], 3.0)
  np.testing.assert_allclose(values["assignment_entropy"], 0.9183, atol=1e-3)


def test_energies_are_relative_to_the_mom_and_bounded_below(scene):
  estimates, mixtures = scene[0].copy(), scene[1]
  mom = mixtures.sum(axis=1)
  estimates[:, 0] = mom
  estimates[:, 1] = 0.0
  estimates[:, 2] = mom * 10 ** (-39.9 / 20)
  estimates[:, 3] = mom * 10 ** (-40.1 / 20)
  matrix = np.full((4, 2, 4), 0.5, np.float32)
  values = statistics(estimates, mixtures, matrix)
  np.testing.assert_allclose(
    values["output_energy_db"],
    np.broadcast_to(np.float32([0.0, -100.0, -39.9, -40.1]), (4, 4)),
    atol=1e-3,
  )
  np.testing.assert_array_equal(values["active_outputs"], 2.0)
