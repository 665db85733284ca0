"""Keeping or adding some outputs of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.separator import init, separate
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.outputs import group_outputs, select_outputs

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


def test_grouped_model_gives_sums_of_estimates(params):
  groups, masks = [[7], [0, 11, 3], [5, 2]], 4
  mixture = np.random.default_rng(1).standard_normal((2, 2, 640), np.float32)
  config, grouped = group_outputs(params, CONFIG, groups, masks)
  assert (config.num_sources, config.masks_per_output) == (3, masks)
  assert jax.tree.map(np.shape, grouped) == jax.tree.map(
    jnp.shape, jax.eval_shape(lambda: init(config, jax.random.key(0)))
  )
  compiled = jax.jit(separate, static_argnums=0)
  every = compiled(CONFIG, params, mixture)
  sums = jnp.stack([every[:, np.array(group)].sum(axis=1) for group in groups], 1)
  found = compiled(config, grouped, mixture)
  np.testing.assert_allclose(found, sums, rtol=1e-5, atol=2e-5)


def test_masks_that_a_group_does_not_need_learn(params):
  config, grouped = group_outputs(params, CONFIG, [[0], [1, 2]], 2)
  mixture = np.random.default_rng(1).standard_normal((1, 2, 640), np.float32)
  gradient = jax.grad(
    lambda params: jnp.sum(separate(config, params, mixture)[:, 0] ** 2)
  )(grouped)["decoder"]["mask_0"]["kernel"]
  # Value or gate, real or imaginary, output, mask.
  parts = gradient.reshape(*gradient.shape[:2], 2, 2, 2, 2, -1)
  assert np.abs(parts[:, :, 0, :, 0, 1]).max() > 0
  assert not parts[..., 1, :, :].any()


@pytest.mark.parametrize(
  ("groups", "masks", "words"),
  [
    ([[0, 1], [2]], 1, "a sum needs 2 masks, but an output has 1"),
    ([[0], []], 2, "at least one"),
    ([[0, 1], [1]], 2, "different outputs"),
    ([[0, 12]], 2, "12 does not exist"),
  ],
)
def test_impossible_groups_are_refused(params, groups, masks, words):
  with pytest.raises(UserError, match=words):
    group_outputs(params, CONFIG, groups, masks)


def test_outputs_of_several_masks_keep_them(params):
  mixture = np.random.default_rng(1).standard_normal((1, 2, 640), np.float32)
  config, grouped = group_outputs(params, CONFIG, [[0], [1, 2], [3, 4]], 2)
  every = separate(config, grouped, mixture)
  one, selected = select_outputs(grouped, config, [1])
  assert one.masks_per_output == 2
  np.testing.assert_allclose(separate(one, selected, mixture), every[:, 1:2], atol=1e-5)
  wide, added = group_outputs(grouped, config, [[0, 2], [1]], 5)
  sums = jnp.stack([every[:, 0] + every[:, 2], every[:, 1]], 1)
  np.testing.assert_allclose(separate(wide, added, mixture), sums, atol=2e-5)
  with pytest.raises(UserError, match="a sum needs 4 masks"):
    group_outputs(grouped, config, [[0, 2]], 3)


@pytest.mark.parametrize("outputs", [[], [1, 1], [0, 12], [-1]])
def test_impossible_selections_are_refused(params, outputs):
  with pytest.raises(UserError, match=r"^outputs: "):
    select_outputs(params, CONFIG, outputs)
