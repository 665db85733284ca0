import dataclasses

import jax
import jax.numpy as jnp
import pytest

from mixit_jax.separator import costs, init, separate
from mixit_jax.separator.config import SeparatorConfig

CONFIG = SeparatorConfig(
  remat="none",
  num_blocks=2,
  embed_dim=32,
  ffn_dim=48,
  kernel_size=4,
  num_heads=4,
  num_groups=4,
  num_sources=5,
  sample_rate=2000,
  n_fft=128,
  hop=32,
  bands=(8, 8, 16, 33),
  attention="xla",
  scan_blocks="off",
)
SAMPLES = 2000


def xla_flops(function, *arguments):
  """XLA's own count, of the program before it is optimized.

  Of that for TPUs: XLA counts the body of a loop once, and on CPU attention is one.
  """
  traced = jax.jit(function).trace(*arguments)
  return traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]


def forward(config, batch=1):
  mixture = jax.ShapeDtypeStruct((batch, 2, SAMPLES), jnp.float32)
  params = jax.eval_shape(lambda: init(config, jax.random.key(0)))
  return lambda p, x: separate(config, p, x), params, mixture


@pytest.mark.parametrize(
  "change",
  [
    {},
    {"num_blocks": 1},
    {"kernel_size": 9},
    {"num_sources": 12},
    {"embed_dim": 64},
    {"num_masks": 12},
  ],
)
def test_forward_count_is_that_of_xla(change):
  config = dataclasses.replace(CONFIG, **change)
  for batch in (1, 3):
    ours = sum(costs.forward_flops(config, SAMPLES, batch).values())
    # XLA counts the cheap steps (norms, gates, softmax) too.
    assert ours <= xla_flops(*forward(config, batch)) <= 1.12 * ours


def test_each_part_grows_as_xla_says():
  """Differences between two models cancel what the parts share."""
  base = xla_flops(*forward(CONFIG))
  for part, change in (
    ("feed_forward", {"ffn_dim": 96}),
    ("decoder", {"num_sources": 9}),
  ):
    config = dataclasses.replace(CONFIG, **change)
    ours = (
      costs.forward_flops(config, SAMPLES)[part]
      - costs.forward_flops(CONFIG, SAMPLES)[part]
    )
    assert xla_flops(*forward(config)) - base == pytest.approx(ours, rel=0.1)


@pytest.mark.parametrize(("frozen", "name"), [((), "all"), (("blocks",), "decoder")])
def test_step_count_is_that_of_xla(frozen, name):
  apply, params, mixture = forward(CONFIG)
  fixed = {key: params[key] for key in frozen}
  trainable = {key: value for key, value in params.items() if key not in frozen}

  def loss(trainable, fixed, x):
    return jnp.sum(apply({**trainable, **fixed}, x) ** 2)

  xla = xla_flops(jax.grad(loss), trainable, fixed, mixture)
  ours = costs.step_flops(CONFIG, SAMPLES, 1, frozen)
  assert ours == pytest.approx(xla, rel=0.2), name


def test_paper_models_cost_what_the_paper_sizes_say():
  """Medium: about 1 TFLOP for 6 s, most of it in the feed-forward layers."""
  config = SeparatorConfig.preset("medium", num_sources=12)
  parts = costs.forward_flops(config, 6 * 44100)
  assert sum(parts.values()) == pytest.approx(1.075e12, rel=0.01)
  assert parts["feed_forward"] == max(parts.values())
