"""How a model is computed changes neither its values nor its gradients."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.separator import init, separate
from mixit_jax.separator.config import SeparatorConfig

TINY = SeparatorConfig(
  num_blocks=2,
  embed_dim=8,
  ffn_dim=6,
  num_heads=2,
  num_groups=2,
  kernel_size=2,
  num_sources=2,
  num_channels=1,
  n_fft=64,
  hop=32,
  bands=(11, 11, 11),
)

# Rematerialization, and whether the blocks are scanned.
MODES = [("none", "on"), ("block", "on"), ("dots", "on"), ("none", "off")]
PLAIN = MODES[0]


class Computed(NamedTuple):
  value: jax.Array
  gradient: dict
  flops: float  # of the compiled gradient; the body of a loop counts once


@pytest.fixture(scope="module")
def computed() -> dict[tuple[str, str], Computed]:
  mixture = np.random.default_rng(0).standard_normal((2, 1, 400), np.float32)
  params = jax.jit(lambda key: init(TINY, key))(jax.random.key(0))

  def compute(remat: str, scan: str) -> Computed:
    config = dataclasses.replace(TINY, remat=remat, scan_blocks=scan)

    def loss(params):
      estimates = separate(config, params, mixture)
      return jnp.mean(jnp.abs(estimates))

    compiled = jax.jit(jax.value_and_grad(loss)).lower(params).compile()
    return Computed(*compiled(params), compiled.cost_analysis()["flops"])

  return {mode: compute(*mode) for mode in MODES}


@pytest.mark.parametrize("mode", MODES[1:])
def test_scan_and_remat_change_neither_values_nor_gradients(computed, mode):
  plain, other = computed[PLAIN], computed[mode]
  np.testing.assert_allclose(other.value, plain.value, rtol=1e-6)
  largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain.gradient))
  assert largest > 0
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * largest),
    other.gradient,
    plain.gradient,
  )


def test_compiled_graphs_differ_as_they_should(computed):
  flops = {mode: result.flops for mode, result in computed.items()}
  # The body of the loop is there once for every block.
  assert flops["none", "off"] > 1.2 * flops[PLAIN]
  # All but the matrix products is computed again, or the whole block.
  assert flops[PLAIN] < flops["dots", "on"] < flops["block", "on"]


@pytest.mark.parametrize(("remat", "forward"), [("none", 2), ("dots", 2), ("block", 4)])
def test_cudnn_attends_again_only_where_nothing_is_saved(remat, forward, monkeypatch):
  # Tracing asks for the version of cuDNN, and needs nothing else of it.
  library = "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version"
  monkeypatch.setattr(library, lambda: 91000)
  config = dataclasses.replace(
    TINY, embed_dim=16, bands=(11, 11, 5, 6), dtype="bfloat16", remat=remat
  )
  params = jax.eval_shape(lambda: init(config, jax.random.key(0)))
  mixture = jax.ShapeDtypeStruct((1, 1, 5 * config.hop), jnp.float32)

  def loss(params, mixture):
    return jnp.sum(separate(config.settled("gpu"), params, mixture) ** 2)

  program = str(jax.make_jaxpr(jax.grad(loss))(params, mixture))
  # Calls in the body of the scan over blocks; a block has two paths.
  assert program.count("dot_product_attention_fwd_wrapper[") == forward
  assert program.count("dot_product_attention_bwd_wrapper[") == 2
