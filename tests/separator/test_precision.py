"""bfloat16 stays close to float32 on a trained model.

For the reference weights see `benchmarks.correctness`.
"""

import numpy as np
import pytest
from training.tiny import stem_audio

from benchmarks.correctness import both_precisions
from benchmarks.fidelity import relative
from mixit_jax.evaluation.scores import usdr
from mixit_jax.weights.runs import read_weights


@pytest.fixture(scope="module")
def trained(finetuned):
  weights = read_weights(finetuned)
  references = np.stack([stem_audio(stem, 7, 1.0) for stem in range(4)])[None]
  return references, both_precisions(weights.config, weights.params, references)


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
