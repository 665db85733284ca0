"""The model card says what it is given, and what is not known."""

import numpy as np

from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.weights.card import model_card
from mixit_jax.weights.folder import Weights

CONFIG = SeparatorConfig.preset("small", num_sources=12)
PARAMS = {"a": {"b": np.zeros((100, 20))}, "c": np.zeros(5)}


def test_parameters_are_counted_and_settings_listed():
  text = model_card(Weights(CONFIG, PARAMS), {"model.safetensors": "ab12"})
  assert "| parameters | 2,005 |" in text
  assert "| embed_dim | 96 |" in text
  assert "| model.safetensors | ab12 |" in text


def test_what_is_not_known_is_said():
  text = model_card(Weights(CONFIG, PARAMS), {})
  assert "12 outputs have no names" in text
  assert "- not stated\n" in text
  assert "Weights: not stated." in text
  assert "licenses of their training data" in text


def test_values_cannot_break_the_tables():
  card = {"run": "a | b\nc", "steps": [1, 2], "overrides": {"n_heads": 3}, "init": ""}
  weights = Weights(CONFIG, PARAMS, ("one",), card)
  lines = model_card(weights, {}).splitlines()
  assert r"| run | a \| b c |" in lines
  assert "| mean of the checkpoints of steps | 1, 2 |" in lines
  assert "| set by hand | n_heads=3 |" in lines
  assert not any("started from" in line for line in lines)
  assert "It separates music into one." in lines[2]
