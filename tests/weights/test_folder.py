"""Folders of weights: what was saved comes back, what does not fit is named."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from training.tiny import MODEL

from mixit_jax.separator import init
from mixit_jax.weights.folder import Weights, WeightsError, load_weights, save_weights

TENSOR_FILE = "model.safetensors"


@pytest.fixture(scope="module")
def weights():
  params = init(MODEL, jax.random.key(0))
  return Weights(MODEL, jax.tree.map(np.asarray, params))


def test_saved_weights_come_back_to_the_bit(weights, tmp_path):
  save_weights(tmp_path, weights)
  loaded = load_weights(tmp_path)
  assert loaded.config == weights.config
  jax.tree.map(np.testing.assert_array_equal, loaded.params, weights.params)


def change_config(folder, **values):
  file = folder / "config.json"
  document = json.loads(file.read_text())
  document["model"] |= values
  file.write_text(json.dumps(document))


@pytest.mark.parametrize("name", ["safetensors", "orbax"])
def test_a_configuration_of_another_size_is_told_by_tensor_and_shapes(
  name, weights, tmp_path
):
  save_weights(tmp_path, weights, name)
  change_config(tmp_path, ffn_dim=16)
  with pytest.raises(WeightsError, match="blocks/") as error:
    load_weights(tmp_path)
  assert "is (2, 16), but (2, 32) in the model of config.json" in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("edit", "words"),
  [
    (lambda tensors: tensors.pop("decoder/norm/gain"), "decoder/norm/gain is absent"),
    (
      lambda tensors: tensors.update({"decoder/norm/gain/x": np.zeros(3, np.float32)}),
      r"decoder/norm/gain/x is \(3,\), but absent",
    ),
  ],
)
def test_missing_and_foreign_tensors_are_named(edit, words, weights, tmp_path):
  save_weights(tmp_path, weights)
  tensors = load_file(tmp_path / TENSOR_FILE)
  edit(tensors)
  save_file(tensors, tmp_path / TENSOR_FILE)
  with pytest.raises(WeightsError, match=words):
    load_weights(tmp_path)
