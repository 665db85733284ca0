"""A start that is refused leaves a run as it is; an accepted one is recorded."""

import json
import shutil

import pytest
from training.tiny import pretrain_config, write_music

from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import UserError
from mixit_jax.lock import FolderLock, LockError
from mixit_jax.training.loop import train
from mixit_jax.training.workdir import stored_config
from mixit_jax.weights.runs import describe_weights, read_meta


@pytest.fixture
def run(pretrained, tmp_path):
  copy = shutil.copytree(pretrained, tmp_path / "run")
  # What a killed save has left, and a newest checkpoint that is damaged.
  shutil.copytree(copy / "checkpoints/8", copy / "checkpoints/9.orbax-checkpoint-tmp")
  return copy


@pytest.fixture(scope="module")
def other_music(tmp_path_factory):
  """A data set of the same files with twice the shards."""
  folder = write_music(tmp_path_factory.mktemp("other"))
  manifest = json.loads((folder / "manifest.json").read_text())
  del manifest["fingerprint"]
  manifest["splits"]["train"]["mixture"] *= 2
  Manifest(**manifest).save(folder)
  return folder


def content(folder):
  files = (path for path in folder.rglob("*") if path.is_file())
  return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def with_model(config, **values):
  return config.changed(
    model=values, run={"allow_changes": tuple(f"model.{v}" for v in values)}
  )


def refused(run, config, words):
  before = content(run)
  with pytest.raises(UserError, match=words):
    train(config, run)
  assert content(run) == before


def test_other_data_are_refused(run, music, other_music):
  refused(run, pretrain_config(other_music, steps=10), "not the data that")
  assert stored_config(run).data.shards == str(music)


def test_another_seed_is_called_a_seed(run, music):
  seeded = pretrain_config(music, steps=10).changed(data={"seed": 1})
  refused(run, seeded, r"data\.seed: 0 -> 1")
  refused(run, pretrain_config(music, seed=1), r"run\.seed: 0 -> 1")


def test_another_model_is_refused_although_it_may_change(run, music, tmp_path):
  changed = with_model(pretrain_config(music, steps=10), num_blocks=3)
  refused(run, changed, "is of another model or optimizer")
  assert describe_weights(run).config.num_blocks == 2


def test_a_run_whose_configuration_was_overwritten_is_still_that_run(run, music):
  # As versions before this one did when they refused a start.
  document = json.loads((run / "config.json").read_text())
  document["config"]["model"]["num_blocks"] = 3
  (run / "config.json").write_text(json.dumps(document))
  assert describe_weights(run).config.num_blocks == 2
  train(pretrain_config(music), run)
  assert stored_config(run).model.num_blocks == 2


def test_a_second_start_is_refused(run, music):
  with FolderLock(run):
    before = content(run)
    with pytest.raises(LockError, match="in use by process") as info:
      train(pretrain_config(music, steps=10), run)
    assert content(run) == before
  assert "\n" not in str(info.value)


def test_a_seed_that_is_allowed_to_change_is_no_change_of_data(music, tmp_path):
  run = tmp_path / "run"
  train(pretrain_config(music, steps=2), run)
  allowed = pretrain_config(music, steps=3, allow_changes=("data.seed",))
  train(allowed.changed(data={"seed": 5}), run)
  first, second = read_meta(run, 3)["starts"]
  assert first["seeds"] == {"run": 0, "data": 0}
  assert second["seeds"] == {"run": 0, "data": 5}
  assert second["step"] == 2
  assert second["changes"] == {"data.seed": [0, 5], "run.steps": [2, 3]}
  # What is as before is not said again.
  assert not {"data", "packages", "devices"} & second.keys()


def test_a_run_records_where_it_is_and_what_it_trains_with(pretrained, music):
  meta = read_meta(pretrained, 8)
  assert meta["run"] == str(pretrained)
  (start,) = meta["starts"]
  assert start["data"]["shards"] == str(music)
  assert start["data"]["fingerprint"] == Manifest.load(music).fingerprint
  assert start["data"]["segments"]["mixture"] == 6
  assert start["devices"] == "8 x cpu"
  assert start["packages"]["jax"]
  assert start["seeds"] == {"run": 0, "data": 0}


def test_what_it_started_from_is_recorded_while_that_is_there(
  finetuned, pretrained, music
):
  stages = describe_weights(finetuned).card["stages"]
  assert [stage["objective"] for stage in stages] == ["stems", "mixit"]
  assert stages[1]["run"] == str(pretrained)
  assert stages[1]["starts"] == read_meta(pretrained, 8)["starts"]
