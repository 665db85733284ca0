"""Pre-training's loss, whose masks are summed first, against the objective itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.objectives import mixit
from mixit_jax.separator import init
from mixit_jax.separator.bs_locoformer import estimate_masks
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.waveform import analyze, synthesize
from mixit_jax.training.config import ObjectiveConfig
from mixit_jax.training.losses import PairBatch, pretraining_loss

TINY = SeparatorConfig(
  n_fft=64,
  hop=16,
  bands=(1,) * 9 + (8,) * 3,
  num_sources=4,
  embed_dim=8,
  ffn_dim=8,
  num_blocks=1,
  num_heads=2,
  num_groups=2,
  kernel_size=2,
)


@pytest.mark.parametrize("assignment", ["efficient", "exact"])
def test_losses_and_gradients_are_those_of_the_separated_outputs(assignment):
  config = ObjectiveConfig(assignment=assignment)
  noise = np.random.default_rng(0).standard_normal((3, 2, 2, 400), np.float32)
  batch = PairBatch(np.arange(3), noise, np.float32([-3, 0, 4]))
  params = init(TINY, jax.random.key(0))

  def directly(params):
    mom, mixtures = mixit.make_mixtures_of_mixtures(noise, batch.ratio_db)
    spectrogram, scale = analyze(TINY, mom)
    masks = estimate_masks(TINY, params, spectrogram)
    estimates = synthesize(TINY, masks, spectrogram, 400)
    targets = mixtures / scale[:, None, :, None]
    chosen = mixit.assign(
      jax.lax.stop_gradient(estimates), targets, assignment, config.tau
    )
    values = mixit.mixit_loss(mixit.remix(estimates, chosen), targets, config.tau)
    return jnp.mean(values), values

  def summed_first(params):
    values, _ = pretraining_loss(TINY, config, params, batch, None)
    return jnp.mean(values), values

  (_, expected), wanted = jax.jit(jax.value_and_grad(directly, has_aux=True))(params)
  (_, found), gradient = jax.jit(jax.value_and_grad(summed_first, has_aux=True))(params)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(wanted))
  for ours, theirs in zip(
    jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * largest)
