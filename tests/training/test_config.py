import dataclasses

import pytest
from training.tiny import finetune_config, pretrain_config

from mixit_jax.checked import differences
from mixit_jax.errors import UserError
from mixit_jax.training.config import Config


def changed(key: str, value) -> dict:
  """The tiny configuration as a dict with one key changed."""
  values = pretrain_config("shards").to_dict()
  *sections, name = key.split(".")
  node = values
  for section in sections:
    node = node[section]
  node[name] = value
  return values


def test_a_configuration_survives_the_way_through_json():
  for config in (pretrain_config("a"), finetune_config("b")):
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
  ("key", "value", "words"),
  [
    ("run.stpes", 3, "did you mean run.steps"),
    ("modle", {}, "did you mean model"),
    ("model.embed_dimm", 3, "did you mean model.embed_dim"),
    ("run.batch", 0, "run.batch"),
    ("run.batch", "eight", "run.batch must be of type int"),
    ("run.batch", True, "run.batch must be of type int"),
    ("run.accumulation", 3, "does not divide run.batch = 8"),
    ("run.profile", "5:2", "run.profile"),
    ("optimizer.peak_rate", -1.0, "optimizer.peak_rate"),
    ("optimizer.b2", 1.0, "optimizer.b2"),
    ("objective.kind", "mixitt", "objective.kind"),
    ("objective.assignment", "best", "objective.assignment"),
    ("init.freeze", "separator", "init.freeze"),
    ("data.seconds", 0.01, "data.seconds"),
    ("data.drop", 1.0, "data.drop"),
    ("data.stems", ["a", "a"], "data.stems"),
    ("data.buffer", 0, "data.buffer"),
    ("valid.chunk_seconds", 0.01, "valid.chunk_seconds"),
    ("valid.hop_seconds", 5.0, "valid.hop_seconds"),
    ("mesh.fsdp", 0, "mesh.fsdp"),
    ("mesh.distributed", "maybe", "mesh.distributed"),
    ("model.num_heads", 3, "model.num_heads"),
    ("model.bands", [1, 2], "model.bands"),
    ("model.dtype", "float16", "model.dtype"),
  ],
)
def test_bad_keys_and_values_are_named_in_one_line(key, value, words):
  with pytest.raises(UserError) as error:
    Config.from_dict(changed(key, value))
  assert words in str(error.value)
  assert "\n" not in str(error.value)


def test_stems_and_outputs_must_agree():
  values = finetune_config("shards").to_dict()
  values["data"]["stems"] = ["bass", "drums"]
  with pytest.raises(UserError, match="num_sources = 4"):
    Config.from_dict(values)


def test_exact_assignment_is_refused_for_too_many_outputs():
  values = changed("objective.assignment", "exact")
  values["model"]["num_sources"] = 17
  with pytest.raises(UserError, match="at most 16"):
    Config.from_dict(values)


def test_differences_are_told_by_dotted_key():
  a = pretrain_config("a")
  b = dataclasses.replace(a, run=dataclasses.replace(a.run, batch=4))
  assert differences(a.to_dict(), b.to_dict()) == {"run.batch": (8, 4)}
