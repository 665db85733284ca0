"""What each layer promises beyond the reference vectors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.separator.bs_locoformer import (
  ConvSwiGLU,
  RMSGroupNorm,
  SelfAttention,
  TFLocoformerBlock,
)
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.ops.dropout import dropout

CONFIG = SeparatorConfig(
  num_blocks=1,
  embed_dim=8,
  ffn_dim=6,
  kernel_size=3,
  num_heads=2,
  num_groups=2,
  n_fft=64,
  hop=16,
  bands=(33,),
)


def configured(**changes):
  return dataclasses.replace(CONFIG, **changes)


def noise(*shape):
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def keys(count):
  return jax.random.split(jax.random.key(3), count)


def initialized(module, *inputs):
  """Parameters of a module and its compiled application."""
  params = module.init(jax.random.key(0), *inputs)
  return params, jax.jit(lambda params, x: module.apply(params, x, *inputs[1:]))


def test_norm_gives_every_group_unit_power_times_its_gain():
  x, gain = noise(2, 3, 4, 6) * 50, np.arange(1, 7, dtype=np.float32)
  y = RMSGroupNorm(CONFIG).apply({"params": {"gain": gain}}, x)
  power = np.mean((y / gain[None, None, None]).reshape(2, 3, 4, 2, 3) ** 2, -1)
  np.testing.assert_allclose(power, 1, rtol=1e-4)


def test_gains_are_what_they_are_stored_as():
  """On CPU they pass through a product, which must not change a bit."""
  norm = RMSGroupNorm(configured(embed_dim=96, num_heads=1, num_groups=1))
  gain = noise(96) * np.logspace(-30, 30, 96, dtype=np.float32)
  ones = np.ones((1, 96), np.float32)
  y = norm.apply({"params": {"gain": gain}}, ones)
  unit = norm.apply({"params": {"gain": np.ones_like(gain)}}, ones)
  np.testing.assert_array_equal(y[0], gain * np.asarray(unit[0]))


def test_norm_has_a_finite_gradient_at_zero():
  x = jnp.zeros((1, 1, 1, 4))
  norm = RMSGroupNorm(CONFIG)
  params = norm.init(jax.random.key(0), x)
  gradient = jax.grad(lambda x: norm.apply(params, x).sum())(x)
  assert np.isfinite(gradient).all()


def test_norm_measures_bfloat16_in_float32():
  x = jnp.asarray(noise(1, 1, 50, 16), jnp.bfloat16)
  exact, rounded = (
    RMSGroupNorm(configured(dtype=dtype)).apply(
      {"params": {"gain": np.ones(16, np.float32)}}, x
    )
    for dtype in ("float32", "bfloat16")
  )
  assert exact.dtype == jnp.float32
  np.testing.assert_array_equal(exact.astype(jnp.bfloat16), rounded)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_feed_forward_keeps_the_length_and_reaches_one_kernel_far(length):
  x = noise(1, 2, length, 8)
  params, apply = initialized(ConvSwiGLU(CONFIG), x, None, 0)
  y = apply(params, x)
  assert y.shape == x.shape
  changed = x.copy()
  changed[0, 0, 0] += 1
  moved = np.abs(apply(params, changed) - y).max(-1) > 1e-6
  expected = np.zeros((1, 2, length), bool)
  expected[0, 0, :3] = True  # two convolutions of three taps reach two frames
  np.testing.assert_array_equal(moved, expected)


def test_attention_knows_no_order_and_no_other_sequence():
  x = noise(2, 3, 5, 8)
  module = SelfAttention(CONFIG)
  params, apply = initialized(module, x, None, 0)
  y, order = apply(params, x), [3, 1, 4, 0, 2]
  np.testing.assert_allclose(
    apply(params, x[:, :, order]), y[:, :, order], rtol=1e-5, atol=1e-6
  )
  changed = x.copy()
  changed[0, 0, 0] += 1
  moved = np.abs(apply(params, changed) - y).max(-1) > 1e-6
  assert moved[0, 0].all()
  assert moved.sum() == 5


def test_attention_survives_large_logits_in_bfloat16():
  x = 1e3 * noise(1, 1, 5, 8).astype(jnp.bfloat16)
  module = SelfAttention(configured(dtype="bfloat16"))
  params, apply = initialized(module, x, None, 0)
  assert np.isfinite(apply(params, x).astype(np.float32)).all()


def test_frequency_path_comes_first_and_paths_stay_on_their_axes():
  x = noise(1, 4, 5, 8)
  block = TFLocoformerBlock(CONFIG)
  params, apply = initialized(block, x, 0, None)
  # Without the weights of the time path only the bands of a frame are mixed.
  silent = jax.tree.map(jnp.zeros_like, params["params"]["time"])
  only_frequency = {"params": {**params["params"], "time": silent}}
  changed = x.copy()
  changed[0, 0, 0] += 1
  moved = [
    np.abs(apply(p, changed)[0] - apply(p, x)[0]).max(-1)[0] > 1e-7
    for p in (only_frequency, params)
  ]
  assert moved[0][0].all()
  assert not moved[0][1:].any()
  assert moved[1].all()


def test_blocks_and_paths_draw_different_dropout_masks():
  x = noise(1, 4, 4, 8)
  block = TFLocoformerBlock(configured(dropout=0.5))
  params = block.init(jax.random.key(0), x, 0, None)
  apply = jax.jit(lambda index: block.apply(params, x, index, keys(1))[0])
  assert np.abs(apply(0) - apply(1)).max() > 0.01
  np.testing.assert_array_equal(apply(1), apply(1))


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
  y = dropout(jnp.ones((2, 20, 100, 333)), rate, keys(2), 0)
  deviation = np.sqrt(rate * (1 - rate) / y.size)
  assert abs(np.mean(y == 0) - rate) < 4 * deviation
  np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)


def test_dropout_drops_independently():
  """As fair coins would: neighbors, examples, sites, sums and patterns of eight."""
  shape = (4, 32, 64, 128)
  signs = [np.sign(dropout(jnp.ones(shape), 0.5, keys(4), n) - 0.5) for n in (0, 1)]
  first = signs[0]
  limit = 5 / np.sqrt(first.size)
  assert abs(np.mean(first * signs[1])) < limit
  for axis in range(4):
    for lag in (1, 2, 3, 4, 8, 16, 32, 64):
      if lag < shape[axis]:
        near = np.take(first, range(shape[axis] - lag), axis)
        far = np.take(first, range(lag, shape[axis]), axis)
        assert abs(np.mean(near * far)) < limit * 2, (axis, lag)
    # The sum of n fair signs has the variance n, and its estimate from m sums the
    # deviation sqrt(2 / m).
    sums = first.sum(axis)
    variance = np.mean(sums**2) / shape[axis]
    assert abs(variance - 1) < 5 * np.sqrt(2 / sums.size), axis
  for order in ((0, 1, 2, 3), (0, 1, 3, 2)):
    bits = np.transpose(first, order).reshape(-1, 8) > 0
    counts = np.bincount(bits @ (2 ** np.arange(8)), minlength=256)
    expected = len(bits) / 256
    statistic = np.sum((counts - expected) ** 2 / expected)
    # chi squared of 255 degrees of freedom: mean 255, deviation sqrt(510).
    assert abs(statistic - 255) < 5 * np.sqrt(510)


def test_dropout_masks_follow_from_key_and_site_alone():
  x = jnp.ones((3, 7, 5))
  found = dropout(x, 0.5, keys(3), 4)
  for index in range(3):
    alone = dropout(x[:1], 0.5, keys(3)[index : index + 1], 4)
    np.testing.assert_array_equal(alone[0], found[index])
  assert (found[0] != found[1]).any()
  assert (found != dropout(x, 0.5, keys(3), 5)).any()


def test_no_keys_or_no_rate_mean_no_dropout():
  x = jnp.ones((2, 4))
  assert dropout(x, 0.5, None, 0) is x
  assert dropout(x, 0.0, keys(2), 0) is x
