"""Folders of weights: every format holds the same bits, and a card says what it is."""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from training.tiny import STEMS

from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import UserError
from mixit_jax.inference.exporting import export
from mixit_jax.inference.model import load
from mixit_jax.lock import FolderLock
from mixit_jax.weights import provenance
from mixit_jax.weights.folder import flatten_params
from mixit_jax.weights.runs import choose_steps, read_weights

FORMATS = ("safetensors", "orbax", "torch")


def assert_same_bits(found, expected):
  found, expected = dict(flatten_params(found)), dict(flatten_params(expected))
  assert found.keys() == expected.keys()
  for path, array in expected.items():
    np.testing.assert_array_equal(found[path], array, err_msg=path, strict=True)


def skip_without_torch(tensor_format):
  if tensor_format == "torch":
    pytest.importorskip("torch")


@pytest.mark.parametrize("tensor_format", FORMATS)
@pytest.mark.parametrize("which", ["mean", "latest"])
def test_exported_weights_are_those_of_the_run_to_the_bit(
  finetuned, tmp_path, tensor_format, which
):
  skip_without_torch(tensor_format)
  export(finetuned, tmp_path / "model", which, tensor_format)
  expected = read_weights(finetuned, which)
  (tmp_path / "model").rename(tmp_path / "moved")  # nothing depends on its place
  found = load(tmp_path / "moved")
  assert found.config == expected.config
  assert found.stems == expected.stems == STEMS
  assert_same_bits(found.weights.params, expected.params)


def test_an_exported_folder_is_exported_again_in_any_format(finetuned, tmp_path):
  export(finetuned, tmp_path / "a", tensor_format="orbax")
  export(tmp_path / "a", tmp_path / "b", license="CC BY 4.0")
  export(tmp_path / "b", tmp_path / "c")
  first, last = read_weights(tmp_path / "a"), read_weights(tmp_path / "c")
  assert_same_bits(last.params, first.params)
  assert last.card["license"] == "CC BY 4.0"
  assert last.card["training_data"] == first.card["training_data"]
  assert last.card["steps"] == first.card["steps"]


@pytest.mark.parametrize("tensor_format", FORMATS)
def test_the_card_holds_provenance_and_the_digest_of_every_file(
  finetuned, pretrained, music, tmp_path, tensor_format
):
  skip_without_torch(tensor_format)
  out = tmp_path / "model"
  export(finetuned, out, tensor_format=tensor_format, license="CC BY-NC 4.0 | own")
  text = (out / "README.md").read_text()
  files = [p for p in out.rglob("*") if p.is_file()]
  tensors = [p for p in files if p.name not in ("README.md", "config.json")]
  assert tensors
  for file in tensors:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"| {file.relative_to(out).as_posix()} | {digest} |" in text
  weights = read_weights(out)
  count = sum(leaf.size for leaf in jax.tree.leaves(weights.params))
  assert f"| parameters | {count:,} |" in text
  assert "| bands | 8, 8, 16, 33 |" in text
  assert f"| run | {finetuned} |" in text
  steps = ", ".join(map(str, read_weights(finetuned).card["steps"]))
  assert f"| mean of the checkpoints of steps | {steps} |" in text
  assert r"CC BY-NC 4.0 \| own" in text
  # Both stages and their data, from the last to the first.
  supervised, pretraining = weights.card["training_data"]
  assert supervised.startswith(f"supervised training: {music}, prepared as fma")
  assert pretraining.startswith(f"pre-training (MixIT): {music}, prepared as fma")
  assert f"- {pretraining}" in text
  assert json.loads((out / "config.json").read_text())["card"] == weights.card


def test_an_export_from_elsewhere_names_what_was_trained_on(
  finetuned, music, tmp_path, monkeypatch
):
  export(finetuned, tmp_path / "a")
  run = shutil.copytree(finetuned, tmp_path / "elsewhere" / "copy")
  # Whatever is said or lies elsewhere is not what the run has recorded.
  document = json.loads((run / "config.json").read_text())
  document["config"]["data"]["shards"] = "other"
  document["config"]["model"]["num_blocks"] = 5
  (run / "config.json").write_text(json.dumps(document))
  monkeypatch.chdir(tmp_path / "elsewhere")
  export("copy", "b")
  cards = [read_weights(folder).card for folder in (tmp_path / "a", "b")]
  for key in ("training_data", "stages", "run"):
    assert cards[0][key] == cards[1][key]
  assert cards[0]["run"] == str(finetuned)
  (data, _) = provenance.data_sets(cards[1]["stages"])
  assert data["fingerprint"] == Manifest.load(music).fingerprint
  assert data["sample_rate"] == 2000
  assert load("b").config.num_blocks == 2


def test_a_text_replaces_the_training_data(finetuned, tmp_path):
  export(finetuned, tmp_path / "model", training_data="my own records")
  assert read_weights(tmp_path / "model").card["training_data"] == ["my own records"]
  assert "- my own records\n" in (tmp_path / "model/README.md").read_text()


def test_a_folder_with_files_is_refused_and_left_as_it_was(finetuned, tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match="already holds files"):
    export(finetuned, tmp_path)
  with pytest.raises(UserError, match="is a file"):
    export(finetuned, tmp_path / "notes.txt")
  assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
  assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_taken(finetuned, tmp_path):
  (tmp_path / "model").mkdir()
  export(finetuned, tmp_path / "model")
  assert load(tmp_path / "model").stems == STEMS


def test_a_failed_export_leaves_nothing(finetuned, tmp_path, monkeypatch):
  from mixit_jax.inference import exporting

  def fail(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(exporting, "model_card", fail)
  with pytest.raises(UserError, match="No space left") as info:
    export(finetuned, tmp_path / "model")
  assert "\n" not in str(info.value)
  assert not list(tmp_path.iterdir())


def truncated(content):
  return content[:20]


def flipped(content):
  place = 3 * len(content) // 4
  return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [truncated, flipped])
@pytest.mark.parametrize("tensor_format", FORMATS)
def test_damaged_tensors_are_named(finetuned, tmp_path, tensor_format, damage):
  skip_without_torch(tensor_format)
  out = tmp_path / "model"
  export(finetuned, out, tensor_format=tensor_format)
  tensors = [p for p in out.rglob("*") if p.name not in ("README.md", "config.json")]
  file = max(filter(Path.is_file, tensors), key=lambda p: p.stat().st_size)
  file.write_bytes(damage(file.read_bytes()))
  with pytest.raises(UserError, match=r"model\.(safetensors|orbax|pth)") as info:
    load(out)
  assert "\n" not in str(info.value)


def test_a_checkpoint_that_is_not_what_was_saved_is_named(finetuned, tmp_path):
  run = shutil.copytree(finetuned, tmp_path / "run")
  (step,) = choose_steps(run, "latest")
  file = run / f"checkpoints/{step}/meta/metadata"
  meta = json.loads(file.read_text())
  name = ".params['decoder']['norm']['gain']"
  meta["checksums"][name] ^= 1
  file.write_text(json.dumps(meta))
  with pytest.raises(UserError, match=rf"{step} is damaged .*not what was saved"):
    load(run, "latest")


@pytest.mark.parametrize(
  "content",
  ["{", "[]", '{"format": "other"}', '{"format": "mixit_jax weights", "model": {}}'],
)
def test_a_damaged_description_is_named(finetuned, tmp_path, content):
  export(finetuned, tmp_path / "model")
  (tmp_path / "model/config.json").write_text(content)
  with pytest.raises(UserError, match=r"model") as info:
    load(tmp_path / "model")
  assert "\n" not in str(info.value)


def test_two_exports_into_one_folder_do_not_meet(finetuned, tmp_path):
  with FolderLock(tmp_path, ".model.owner"):
    with pytest.raises(UserError, match="is in use by process"):
      export(finetuned, tmp_path / "model")
    assert not (tmp_path / "model").exists()
  (tmp_path / ".model.unfinished").mkdir()  # of one that was killed
  export(finetuned, tmp_path / "model")
  assert [path.name for path in tmp_path.iterdir()] == ["model"]
