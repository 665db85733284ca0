"""Runs and exports that version 0.1.0 wrote still load, go on and separate."""

import json
import shutil

import numpy as np
import pytest
from training.tiny import stem_audio

import mixit_jax
from mixit_jax.training.loop import train
from mixit_jax.training.workdir import stored_config
from mixit_jax.weights.runs import describe_run, valid_losses


@pytest.fixture(scope="module")
def older(fixtures):
  return fixtures / "version_0_1"


@pytest.fixture(scope="module")
def expected(older):
  return json.loads((older / "expected.json").read_text())


@pytest.mark.parametrize("name", ["export", "finetune"])
def test_they_separate_as_they_did(older, expected, name):
  song = stem_audio(0, 6, 1.7) + stem_audio(2, 6, 1.7)
  model = mixit_jax.load(older / name)
  found = model.separate(song)
  for stem, samples in expected["estimates"].items():
    np.testing.assert_allclose(found[stem][:, ::200], samples, atol=1e-6)


def test_the_license_of_an_export_is_kept(older):
  assert mixit_jax.load(older / "export").card["license"] == "CC0"


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_a_run_goes_on_with_the_same_numbers(older, expected, music, tmp_path, name):
  run = shutil.copytree(older / name, tmp_path / name)
  assert list(valid_losses(run)) == [4]
  config = stored_config(run)
  train(config.changed(run={"steps": 8}, data={"shards": str(music)}), run)
  lines = list(map(json.loads, (run / "metrics.jsonl").read_text().splitlines()))
  found = {(line["group"], line["step"]): line["loss"] for line in lines}
  wanted = {
    (line["group"], line["step"]): line["loss"] for line in expected["reports"][name]
  }
  assert found.keys() == wanted.keys()
  for place, loss in wanted.items():
    # Another version of XLA may round otherwise.
    assert found[place] == pytest.approx(loss, abs=1e-3), place
  assert sorted(valid_losses(run)) == [4, 8]
  assert len(list((run / "checkpoints").iterdir())) <= 2


def test_the_former_word_for_frozen_blocks_is_understood(older):
  assert stored_config(older / "finetune").frozen == ("blocks",)
  assert describe_run(older / "finetune").stems == ("bass", "drums", "vocals", "other")
