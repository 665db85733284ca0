import dataclasses
import json

import pytest
from training.tiny import finetune_config, pretrain_config

from mixit_jax.errors import UserError
from mixit_jax.training.workdir import claim_workdir, stored_config


def with_run(config, **values):
  return dataclasses.replace(config, run=dataclasses.replace(config.run, **values))


def test_the_configuration_is_stored_and_found_again(tmp_path):
  config = pretrain_config("shards")
  claim_workdir(tmp_path / "new", config)
  assert stored_config(tmp_path / "new") == config


def test_another_configuration_is_refused_and_the_difference_shown(tmp_path):
  claim_workdir(tmp_path, pretrain_config("shards"))
  before = (tmp_path / "config.json").read_bytes()
  with pytest.raises(UserError, match=r"run\.batch: 8 -> 4"):
    claim_workdir(tmp_path, pretrain_config("shards", batch=4))
  assert (tmp_path / "config.json").read_bytes() == before


def test_named_keys_may_change(tmp_path):
  claim_workdir(tmp_path, pretrain_config("shards"))
  changed = pretrain_config("shards", batch=4, allow_changes=("run.batch",))
  claim_workdir(tmp_path, changed)
  assert stored_config(tmp_path).run.batch == 4


def test_length_and_habits_may_always_change(tmp_path):
  claim_workdir(tmp_path, pretrain_config("shards"))
  claim_workdir(tmp_path, pretrain_config("elsewhere", steps=99, log_every=1))


def test_a_misspelled_allowance_is_an_error(tmp_path):
  claim_workdir(tmp_path, pretrain_config("shards"))
  with pytest.raises(UserError, match=r"run\.bacth"):
    claim_workdir(tmp_path, pretrain_config("shards", allow_changes=("run.bacth",)))


@pytest.mark.parametrize("content", ["", "[]", '{"format": "something else"}'])
def test_a_foreign_config_file_is_refused(tmp_path, content):
  (tmp_path / "config.json").write_text(content)
  with pytest.raises(UserError, match=r"config\.json"):
    claim_workdir(tmp_path, pretrain_config("shards"))


def test_a_config_of_another_version_is_explained(tmp_path):
  claim_workdir(tmp_path, pretrain_config("shards"))
  document = json.loads((tmp_path / "config.json").read_text())
  document["config"]["run"]["bygone"] = 1
  document["version"] = "0.0.1"
  (tmp_path / "config.json").write_text(json.dumps(document))
  with pytest.raises(UserError, match=r"version 0\.0\.1.*run\.bygone"):
    stored_config(tmp_path)


def test_a_file_or_a_foreign_folder_of_checkpoints_is_refused(tmp_path):
  (tmp_path / "file").write_text("x")
  with pytest.raises(UserError, match="is a file"):
    claim_workdir(tmp_path / "file", pretrain_config("shards"))
  (tmp_path / "other/checkpoints/3").mkdir(parents=True)
  with pytest.raises(UserError, match=r"no config\.json"):
    claim_workdir(tmp_path / "other", pretrain_config("shards"))


def test_the_former_word_for_frozen_blocks_is_still_read(tmp_path):
  config = finetune_config("shards").changed(init={"freeze": "blocks"})
  claim_workdir(tmp_path, config)
  file = tmp_path / "config.json"
  file.write_text(file.read_text().replace('"blocks"', '"separator"'))
  assert stored_config(tmp_path) == config
  claim_workdir(tmp_path, config)
