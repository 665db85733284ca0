"""Keeping some outputs of a model, and summing them up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.separator import init, separate
from mixit_jax.separator.bs_locoformer import estimate_masks
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.outputs import select_outputs, sum_outputs
from mixit_jax.separator.waveform import analyze

CONFIG = SeparatorConfig(
  num_blocks=1,
  embed_dim=8,
  ffn_dim=6,
  num_heads=2,
  num_groups=2,
  kernel_size=3,
  num_sources=12,
  n_fft=64,
  hop=16,
  bands=(2, 2, 4, 25),
)


@pytest.fixture(scope="module")
def params():
  shapes = jax.eval_shape(lambda: init(CONFIG, jax.random.key(0)))
  draw = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: 0.3 * draw.standard_normal(leaf.shape, np.float32), shapes
  )


def test_selected_model_gives_the_selected_estimates(params):
  outputs = [7, 0, 11, 3]
  mixture = np.random.default_rng(1).standard_normal((2, 2, 640), np.float32)
  config, selected = select_outputs(params, CONFIG, outputs)
  assert config.num_sources == 4
  compiled = jax.jit(separate, static_argnums=0)
  every = compiled(CONFIG, params, mixture)
  found = compiled(config, selected, mixture)
  np.testing.assert_allclose(found, every[:, np.asarray(outputs)], rtol=1e-5, atol=1e-5)
  # All twelve outputs differ, so that no other selection would pass.
  distances = np.abs(every[:, :, None] - every[:, None]).max((0, 3, 4))
  assert distances[~np.eye(12, dtype=bool)].min() > 1e-2


def test_selection_works_on_any_array_and_leaves_the_input_alone(params):
  before = jax.tree.map(np.copy, params)
  _, selected = select_outputs(params, CONFIG, [1, 2])
  jax.tree.map(np.testing.assert_array_equal, params, before)
  _, on_device = select_outputs(jax.device_put(params), CONFIG, [1, 2])
  jax.tree.map(np.testing.assert_array_equal, selected, on_device)


def test_outputs_become_weighted_sums(params):
  weights = np.random.default_rng(2).standard_normal((3, 12))
  mixture = np.random.default_rng(1).standard_normal((2, 2, 640), np.float32)
  config, summed = sum_outputs(params, CONFIG, weights)
  assert (config.num_sources, config.num_masks) == (3, 12)
  assert jax.tree.map(np.shape, summed) == jax.tree.map(
    jnp.shape, jax.eval_shape(lambda: init(config, jax.random.key(0)))
  )
  compiled = jax.jit(separate, static_argnums=0)
  every = compiled(CONFIG, params, mixture)
  found = compiled(config, summed, mixture)
  expected = jnp.einsum("kn,bncl->bkcl", weights, every)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-5)


def test_masks_without_weight_learn(params):
  weights = np.eye(2, 12)
  config, summed = sum_outputs(params, CONFIG, weights)
  mixture = np.random.default_rng(1).standard_normal((1, 2, 640), np.float32)
  gradient = jax.grad(
    lambda params: jnp.sum(separate(config, params, mixture)[:, 0] ** 2)
  )(summed)["decoder"]["weights"]
  assert np.abs(gradient[0]).min() > 0
  assert not gradient[1].any()


def test_sums_may_differ_between_bands(params):
  """The sum is taken where the masks are: in the spectrum of each output."""
  bands = len(CONFIG.bands)
  weights = np.random.default_rng(2).standard_normal((3, 12, bands))
  mixture = np.random.default_rng(1).standard_normal((2, 2, 640), np.float32)
  config, summed = sum_outputs(params, CONFIG, weights)
  spectrum, _ = analyze(CONFIG, mixture)
  every = estimate_masks(CONFIG, params, spectrum)
  found = estimate_masks(config, summed, spectrum)
  low = 0
  for band, width in enumerate(CONFIG.bands):
    part = slice(low, low + width)
    expected = np.einsum("kn,bnctf->bkctf", weights[..., band], every[..., part])
    np.testing.assert_allclose(found[..., part], expected, rtol=1e-4, atol=5e-5)
    low += width


def test_sums_are_selected_and_summed_up_again(params):
  mixture = np.random.default_rng(1).standard_normal((1, 2, 640), np.float32)
  weights = np.random.default_rng(2).standard_normal((3, 12))
  config, summed = sum_outputs(params, CONFIG, weights)
  every = separate(config, summed, mixture)
  one, selected = select_outputs(summed, config, [1])
  assert (one.num_sources, one.num_masks) == (1, 12)
  np.testing.assert_allclose(separate(one, selected, mixture), every[:, 1:2], atol=1e-4)
  two, added = sum_outputs(summed, config, np.array([[1, 0, 1], [0, 1, 0]]))
  sums = jnp.stack([every[:, 0] + every[:, 2], every[:, 1]], 1)
  np.testing.assert_allclose(separate(two, added, mixture), sums, atol=1e-4)


@pytest.mark.parametrize("outputs", [[], [1, 1], [0, 12], [-1]])
def test_impossible_selections_are_refused(params, outputs):
  with pytest.raises(UserError, match=r"^outputs: "):
    select_outputs(params, CONFIG, outputs)
