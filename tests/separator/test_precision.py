"""bfloat16 stays close to float32, on reference weights and on a trained model."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
import pytest
from training.tiny import stem_audio

from benchmarks.fidelity import reference_weights, relative
from mixit_jax.evaluation.scores import usdr
from mixit_jax.objectives.snr import inactive_snr_loss
from mixit_jax.separator.waveform import analyze, separate
from mixit_jax.weights.runs import read_weights
from mixit_jax.weights.torch_weights import from_torch


class Result(NamedTuple):
  estimates: np.ndarray
  gradient: np.ndarray
  loss: float


def run(config, params, references) -> dict[str, Result]:
  """Estimates, fine-tuning loss and its gradient in both types."""
  mixture = references.sum(1)

  def compute(dtype: str) -> Result:
    typed = dataclasses.replace(config, dtype=dtype)

    def loss(params):
      estimates = separate(typed, params, mixture)
      scale = analyze(typed, mixture)[1][:, None, :, None]
      loss = inactive_snr_loss(references / scale, estimates / scale)
      return loss.mean(), estimates

    (value, estimates), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
      params
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype("float32")}
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(gradient)]
    return Result(np.asarray(estimates), np.concatenate(leaves), float(value))

  return {dtype: compute(dtype) for dtype in ("float32", "bfloat16")}


@pytest.fixture(scope="module")
def trained(finetuned):
  weights = read_weights(finetuned)
  references = np.stack([stem_audio(stem, 7, 1.0) for stem in range(4)])[None]
  return references, run(weights.config, weights.params, references)


def test_a_trained_model_gives_the_same_estimates_and_scores(trained):
  references, results = trained
  full, half = results["float32"], results["bfloat16"]
  # Measured: 3.0e-3. Rounding to 8 bits cannot be much better than 1e-3.
  assert 1e-4 < relative(half.estimates, full.estimates) < 1e-2
  assert abs(half.loss - full.loss) < 0.02
  scores = [usdr(references[0], result.estimates[0]) for result in (full, half)]
  np.testing.assert_allclose(*scores, atol=0.05)  # measured: 0.010 dB
  assert scores[0].min() > 1.0  # it has learned something


def test_a_trained_model_has_the_same_gradient(trained):
  _, results = trained
  error = relative(results["bfloat16"].gradient, results["float32"].gradient)
  assert 1e-4 < error < 2e-2  # measured: 3.8e-3


@pytest.mark.slow
def test_the_reference_weights_give_close_estimates_and_gradients(fixtures):
  config, params = from_torch(reference_weights(), n_heads=2, n_groups=2)
  references = np.load(fixtures / "separator.npz")["estimates"][..., :12000]
  results = run(config, params, references)
  full, half = results["float32"], results["bfloat16"]
  assert 1e-4 < relative(half.estimates, full.estimates) < 3e-2  # measured: 1.7e-2
  assert 1e-4 < relative(half.gradient, full.gradient) < 7e-2  # measured: 3.6e-2
