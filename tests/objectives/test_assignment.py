"""Assignments against brute force in float64 over all 2^N."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.objectives.assignment import all_losses, inner_products
from mixit_jax.objectives.mixit import (
  assign_exact,
  assign_least_squares,
  mixit_loss,
  remix,
)


class Solution(NamedTuple):
  exact: jax.Array
  efficient: jax.Array
  left: jax.Array
  exact_loss: jax.Array
  efficient_loss: jax.Array
  left_loss: jax.Array


@jax.jit
def solve(estimates, mixtures):
  """All assignments and their losses: one compilation per shape."""
  matrices = (
    assign_exact(estimates, mixtures),
    assign_least_squares(estimates, mixtures),
    assign_least_squares(estimates, mixtures, channels="left"),
  )
  losses = (mixit_loss(remix(estimates, matrix), mixtures) for matrix in matrices)
  return Solution(*matrices, *losses)


@jax.jit
def search(estimates, mixtures):
  """Losses of all assignments as inner products give them."""
  return all_losses(inner_products(estimates, mixtures), 1e-3)


def subsets(num_sources):
  codes = np.arange(2**num_sources)
  return ((codes[:, None] >> np.arange(num_sources)) & 1).astype(np.float64)


def code_of(mix_matrix):
  bits = np.asarray(mix_matrix)[:, 1]
  return (bits @ 2 ** np.arange(bits.shape[1])).astype(int)


def brute_force(estimates, mixtures, tau=1e-3, eps=1e-8):
  """Losses [B, 2^N] of all assignments, from waveforms in float64."""
  estimates, mixtures = estimates.astype(np.float64), mixtures.astype(np.float64)
  batch, num_sources, num_channels, _ = estimates.shape
  to_second = subsets(num_sources)
  losses = np.zeros((batch, len(to_second)))
  for b in range(batch):
    for c in range(num_channels):
      for i, matrix in enumerate((1 - to_second, to_second)):
        target = mixtures[b, i, c]
        error = np.sum((target - matrix @ estimates[b, :, c]) ** 2, axis=1)
        power = np.sum(target**2)
        losses[b] += 10 * np.log10((error + tau * power + eps) / (power + eps))
  return losses / (2 * num_channels)


def scene(kind, num_sources, num_channels=2, batch=4, length=300, seed=0):
  """Outputs [B, N, C, L] of one kind for two mixtures [B, 2, C, L]."""
  rng = np.random.default_rng([seed, num_sources, num_channels])
  shape = (batch, num_sources, num_channels, length)
  sources = rng.standard_normal(shape)
  to_second = rng.integers(0, 2, (batch, num_sources, 1, 1))
  # A source of its own in each mixture keeps both from being silent.
  own = 0.3 * rng.standard_normal((batch, 2, num_channels, length))
  mixtures = own + np.stack(
    [np.sum((1 - to_second) * sources, axis=1), np.sum(to_second * sources, axis=1)],
    axis=1,
  )
  noise = rng.standard_normal(shape)
  mom = mixtures.sum(axis=1, keepdims=True)
  estimates = {
    "separated": lambda: sources + 0.3 * noise,
    "random": lambda: noise,
    "leaking": lambda: 0.3 * sources + 0.7 * mom / num_sources + 0.05 * noise,
    "nearly identical": lambda: mom / num_sources + 1e-2 * noise,
    "identical": lambda: np.repeat(mom / num_sources, num_sources, axis=1),
    "half silent": lambda: sources * (np.arange(num_sources) % 2)[:, None, None],
    "silent": lambda: np.zeros(shape),
    "quiet": lambda: 1e-4 * (sources + 0.3 * noise),
    "loud": lambda: 1e4 * (sources + 0.3 * noise),
    "uneven": lambda: (
      sources * 10.0 ** rng.uniform(-3, 1, (batch, num_sources, 1, 1)) + 0.01 * noise
    ),
    "cancelling": lambda: (
      sources
      + 0.1 * noise
      + 30 * noise[:, :1] * np.resize([1, -1], num_sources)[:, None, None]
    ),
  }[kind]()
  return estimates.astype(np.float32), mixtures.astype(np.float32)


KINDS = (
  "separated",
  "random",
  "leaking",
  "nearly identical",
  "identical",
  "half silent",
  "silent",
  "quiet",
  "loud",
  "uneven",
  "cancelling",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_sources", "num_channels"), [(1, 2), (2, 1), (5, 2)])
def test_exact_assignment_equals_brute_force(kind, num_sources, num_channels):
  check_against_brute_force(*scene(kind, num_sources, num_channels))


@pytest.mark.parametrize("kind", KINDS)
def test_exact_assignment_of_twelve_outputs_equals_brute_force(kind):
  check_against_brute_force(*scene(kind, 12))


def check_against_brute_force(estimates, mixtures):
  losses = brute_force(estimates, mixtures)
  matrix = np.asarray(solve(estimates, mixtures).exact)
  np.testing.assert_array_equal(matrix.sum(axis=1), 1.0)
  chosen = losses[np.arange(len(losses)), code_of(matrix)]
  np.testing.assert_allclose(chosen, losses.min(axis=1), atol=3e-3, rtol=0)
  ordered = np.sort(losses, axis=1)
  unique = ordered[:, 1] - ordered[:, 0] > 1e-2
  np.testing.assert_array_equal(code_of(matrix)[unique], losses.argmin(axis=1)[unique])


def test_brute_force_finds_unique_optima_to_compare_with():
  losses = np.sort(brute_force(*scene("separated", 12)), axis=1)
  assert np.all(losses[:, 1] - losses[:, 0] > 1e-2)


def test_assignments_equal_the_reference_vectors(fixtures):
  vectors = np.load(fixtures / "losses.npz")
  estimates, mixtures = vectors["mixit_estimates"], vectors["mixit_mixtures"]
  solution = solve(estimates, mixtures)
  np.testing.assert_array_equal(solution.left, vectors["efficient_mix_matrix"])
  np.testing.assert_array_equal(solution.exact, vectors["exact_mix_matrix"])
  np.testing.assert_allclose(
    np.mean(solution.left_loss), vectors["efficient_loss"], atol=1e-4
  )
  np.testing.assert_allclose(solution.exact_loss, vectors["exact_loss"], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_assignment_is_never_worse_than_least_squares(kind):
  better = 0
  for seed in range(5):
    solution = solve(*scene(kind, 12, seed=seed))
    gain = np.asarray(solution.efficient_loss - solution.exact_loss)
    assert np.all(gain >= -2e-5)
    better += int(np.sum(gain > 0.1))
  if kind in ("random", "identical", "loud"):
    assert better > 0


def with_cancelling_hum(level, num_hummed):
  """Separated outputs, the first of which share a hum of alternating sign."""
  estimates, mixtures = scene("separated", 12)
  hum = level * np.random.default_rng(0).standard_normal(estimates[:, :1].shape)
  signs = np.resize([1, -1], num_hummed)[:, None, None]
  estimates[:, :num_hummed] += (signs * hum).astype(np.float32)
  return estimates, mixtures


def test_outputs_that_cancel_each_other_cost_few_digits():
  """Outputs 40 dB above their sources."""
  estimates, mixtures = with_cancelling_hum(100.0, 12)
  expected = brute_force(estimates, mixtures)
  chosen = code_of(solve(estimates, mixtures).exact)
  chosen_loss = expected[np.arange(len(expected)), chosen]
  np.testing.assert_allclose(chosen_loss, expected.min(axis=1), atol=0.3)


def test_errors_are_clipped_where_they_come_out_negative():
  assert np.isfinite(search(*with_cancelling_hum(1e4, 12))).all()


def test_waveforms_decide_where_inner_products_keep_no_digit():
  """Outputs 80 dB above their sources: least squares win, and are kept."""
  estimates, _ = with_cancelling_hum(1e4, 6)
  mixtures = np.stack([estimates[:, :6].sum(axis=1), estimates[:, 6:].sum(axis=1)], 1)
  solution = solve(estimates, mixtures)
  np.testing.assert_allclose(solution.exact_loss, -30.0, atol=1e-2)
  proposed = np.asarray(search(estimates, mixtures)).argmin(axis=1)
  assert np.any(proposed != 0b111111000000)


@pytest.mark.parametrize("kind", ["separated", "leaking", "uneven"])
def test_least_squares_equal_a_float64_solution(kind):
  estimates, mixtures = scene(kind, 12)
  solution = solve(estimates, mixtures)
  for matrix, used in ((solution.efficient, slice(None)), (solution.left, slice(0, 1))):
    for b in range(len(estimates)):
      outputs = estimates[b, :, used].reshape(12, -1).astype(np.float64)
      targets = mixtures[b, :, used].reshape(2, -1).astype(np.float64)
      coefficients = np.linalg.lstsq(outputs.T, targets.T)[0].T
      clear = np.abs(coefficients[0] - coefficients[1]) > 1e-3 * np.abs(
        coefficients
      ).max(axis=0)
      assert clear.sum() >= 10
      np.testing.assert_array_equal(
        np.asarray(matrix)[b, 1, clear], coefficients.argmax(axis=0)[clear]
      )


def test_both_channels_count():
  """Outputs that sound on the right only are assigned by the right channel."""
  estimates, mixtures = scene("separated", 5)
  estimates[:, :, 0] = 0.0
  mixtures[:, :, 0] *= 1e-3
  mixtures[:, 0, 1] = estimates[:, [1, 3], 1].sum(axis=1)
  mixtures[:, 1, 1] = estimates[:, [0, 2, 4], 1].sum(axis=1)
  solution = solve(estimates, mixtures)
  assert list(code_of(solution.exact)) == [0b10101] * 4
  assert list(code_of(solution.efficient)) == [0b10101] * 4
  assert list(code_of(solution.left)) == [0] * 4


def test_ties_go_to_the_lowest_code():
  one, two = np.random.default_rng(0).standard_normal((2, 4, 2, 300))
  two -= one * np.sum(one * two, axis=-1, keepdims=True) / np.sum(one**2, -1)[..., None]
  two *= np.linalg.norm(one, axis=-1, keepdims=True) / np.linalg.norm(
    two, axis=-1, keepdims=True
  )
  mixtures = np.stack([one, two], axis=1).astype(np.float32)
  mom = mixtures.sum(axis=1)
  # Identical outputs, mixtures of equal power: any two or three may go to either.
  identical = np.stack([mom / 5] * 5, axis=1)
  assert list(code_of(solve(identical, mixtures).exact)) == [0b00011] * 4
  # Silent outputs make no difference: they go to the first mixture.
  silent = 0 * mom
  estimates = np.stack([silent, mixtures[:, 1], silent, mixtures[:, 0], silent], axis=1)
  solution = solve(estimates, mixtures)
  assert list(code_of(solution.exact)) == [0b00010] * 4
  assert list(code_of(solution.efficient)) == [0b00010] * 4
  nothing = solve(0 * estimates, 0 * mixtures)
  assert list(code_of(nothing.exact)) == [0] * 4
  assert list(code_of(nothing.efficient)) == [0] * 4


def test_least_squares_do_not_depend_on_the_level_of_an_output():
  estimates, mixtures = scene("separated", 5)
  gains = np.float32([1e-5, 1, 1e3, 1e-2, 1e5])[:, None, None]
  np.testing.assert_array_equal(
    solve(gains * estimates, mixtures).efficient, solve(estimates, mixtures).efficient
  )


def test_sixteen_outputs_are_searched_in_arrays_of_one_value_per_assignment():
  estimates, mixtures = scene("separated", 16, batch=2, length=64)
  compiled = jax.jit(assign_exact).lower(estimates, mixtures).compile()
  one_array = 4 * 2 * 2**16 * 2  # bytes of a float32 [B, 2^N, C]
  assert compiled.memory_analysis().temp_size_in_bytes < 8 * one_array
  losses = brute_force(estimates, mixtures)
  np.testing.assert_array_equal(
    code_of(compiled(estimates, mixtures)), losses.argmin(axis=1)
  )


def test_too_many_outputs_for_the_exact_search_are_refused():
  estimates, mixtures = np.zeros((1, 17, 2, 8)), np.zeros((1, 2, 2, 8))
  with pytest.raises(UserError, match=r"17.*'efficient'"):
    assign_exact(estimates, mixtures)


def test_shapes_that_do_not_fit_are_refused():
  estimates, mixtures = scene("random", 2)
  with pytest.raises(ValueError, match="mixtures must be"):
    assign_exact(estimates, mixtures[..., 1:])
  with pytest.raises(ValueError, match="mixtures must be"):
    assign_least_squares(estimates, mixtures[:1])
  with pytest.raises(ValueError, match="B, N, C, L"):
    assign_least_squares(estimates[0], mixtures)
  with pytest.raises(ValueError, match="'all' or 'left'"):
    assign_least_squares(estimates, mixtures, channels="right")


def test_assignments_of_a_batch_split_over_devices_are_the_same():
  estimates, mixtures = scene("leaking", 5)
  mesh = jax.make_mesh(
    (4,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:4]
  )
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  split = solve(*jax.device_put((estimates, mixtures), sharding))
  assert len(split.exact.sharding.device_set) == 4
  whole = solve(estimates, mixtures)
  np.testing.assert_array_equal(split.exact, whole.exact)
  np.testing.assert_array_equal(split.efficient, whole.efficient)
