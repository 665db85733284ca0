"""The model card says what it is given, and what is not known."""

import numpy as np
import pytest

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
  assert "Weights of a music source separator. It separates music into one." in lines


STAGE = {
  "objective": "mixit",
  "run": "/runs/a",
  "weights": "mean",
  "steps": [4, 8],
  "starts": [
    {
      "step": 0,
      "time": "2026-11-28T10:00:00+00:00",
      "host": "one",
      "data": {
        "shards": "/data/fma",
        "kind": "fma",
        "seconds": 10.0,
        "sample_rate": 44100,
        "segments": {"mixture": 7},
        "fingerprint": "0123456789abcdef0",
      },
    },
    {"step": 3, "time": "2026-11-28T11:00:00+00:00", "host": "two"},
  ],
}
SCORES = {
  "songs": "3 songs",
  "rows": [{"score": "csdr", "stem": "bass", "value": 3.5, "low": 2.0, "high": 4.25}],
}


def front_matter(card):
  yaml = pytest.importorskip("yaml")
  text = model_card(Weights(CONFIG, PARAMS, ("one",), card), {})
  _, head, rest = text.split("---\n", 2)
  assert rest.startswith("\n# Band-split")
  return yaml.safe_load(head), rest


def test_hubs_read_the_front_matter():
  head, _ = front_matter(
    {"license": "CC BY-NC 4.0", "stages": [STAGE], "scores": SCORES}
  )
  assert head["license"] == "cc-by-nc-4.0"
  assert "music-source-separation" in head["tags"]
  assert head["datasets"] == ["fma"]
  assert head["metrics"] == ["csdr"]
  (metric,) = head["model-index"][0]["results"][0]["metrics"]
  assert (metric["type"], metric["value"]) == ("csdr", 3.5)
  assert "95 % interval 2.0 to 4.25" in metric["name"]


@pytest.mark.parametrize(
  ("license", "known", "name"),
  [
    ("", "unknown", None),
    ("CC0", "cc0-1.0", None),
    ("Apache-2.0", "apache-2.0", None),
    ('ours: "ask"', "other", 'ours: "ask"'),
  ],
)
def test_licenses_have_the_names_of_hubs_where_they_have_any(license, known, name):
  head, _ = front_matter({"license": license})
  assert head["license"] == known
  assert head.get("license_name") == name
  assert "datasets" not in head


def test_every_start_of_every_stage_is_told():
  _, text = front_matter({"stages": [STAGE], "scores": SCORES})
  assert "### pre-training (MixIT): /runs/a" in text
  assert (
    "- step 0, 2026-11-28T10:00:00+00:00\n  - host: one\n  - data: /data/fma" in text
  )
  assert "- step 3, 2026-11-28T11:00:00+00:00\n  - host: two\n" in text
  assert "| csdr bass | 3.5 (2.0 to 4.25) |" in text


def test_what_the_data_consists_of_is_told_once():
  provenance = {
    "source": "FMA, subset large",
    "files": 1234,
    "hours": 1000.25,
    "segments": 700_000,
    "licenses": {"cc-by": {"files": 1234, "hours": 1000.25}},
    "left_out": {"cannot be decoded": 7},
    "cut_short": {"files": 3, "seconds_lost": 12.5},
    "duplicates": 0,
  }
  start = {**STAGE["starts"][0], "data": {**STAGE["starts"][0]["data"]}}
  start["data"]["provenance"] = provenance
  stage = {**STAGE, "starts": [start]}
  _, text = front_matter({"stages": [stage, stage]})
  assert text.count("### FMA, subset large\n") == 1
  assert "| hours | 1,000.2 |\n" in text
  assert "| license cc-by | 1,234 files, 1,000.2 h |\n" in text
  assert "| left out: cannot be decoded | 7 files |\n" in text
  assert "| damaged, used in part | 3 files, 12.5 s lost |\n" in text
  assert "duplicates" not in text
