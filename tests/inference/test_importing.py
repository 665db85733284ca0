"""PyTorch files become folders of weights."""

import dataclasses
import hashlib
import shutil

import jax
import numpy as np
import pytest
from training.tiny import MODEL, STEMS

from mixit_jax.errors import UserError
from mixit_jax.inference.exporting import export
from mixit_jax.inference.importing import find_merged_config, import_torch
from mixit_jax.separator import separate
from mixit_jax.separator.outputs import select_outputs
from mixit_jax.weights.runs import read_weights
from mixit_jax.weights.torch_weights import WINDOWS

torch = pytest.importorskip("torch")

# What shapes do not tell of the tiny models.
REST = {
  "n_heads": MODEL.num_heads,
  "n_groups": MODEL.num_groups,
  "hop": MODEL.hop,
  "sample_rate": MODEL.sample_rate,
}
MERGED = "model: {n_heads: 2, num_groups: 2}\nstft: {hop_length: 32}\nfs: 2000\n"


compiled = jax.jit(separate, static_argnums=0)


@pytest.fixture(scope="module")
def files(pretrained, finetuned, tmp_path_factory):
  """Files of the published layout: `pretrained` (6 outputs) and `finetuned` (4)."""
  folder = tmp_path_factory.mktemp("published")
  for name, run in (("pretrained", pretrained), ("finetuned", finetuned)):
    export(run, folder / name, tensor_format="torch")
    (folder / name / "config.json").unlink()
  return folder


def test_weights_and_their_origin_are_kept(files, finetuned, tmp_path):
  file = files / "finetuned/model.pth"
  import_torch(file, tmp_path / "run", license="CC BY 4.0", **REST)
  found, expected = read_weights(tmp_path / "run"), read_weights(finetuned)
  assert found.config == dataclasses.replace(expected.config, dtype="auto")
  jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
  digest = hashlib.sha256(file.read_bytes()).hexdigest()
  assert found.card["file"] == "model.pth"
  assert found.card["sha256"] == digest
  assert found.card["overrides"] == REST
  text = (tmp_path / "run/README.md").read_text()
  for words in (digest, "model.pth", "CC BY 4.0", found.card["imported"]):
    assert words in text


def test_outputs_are_named_where_they_can_be(files, tmp_path):
  def names(name, out, **options):
    file = files / name / "model.pth"
    return import_torch(file, tmp_path / out, **REST, **options).stems

  assert names("finetuned", "a") == STEMS
  assert names("pretrained", "b") is None
  assert names("finetuned", "c", stems=()) is None
  assert names("finetuned", "d", stems=("w", "x", "y", "z")) == ("w", "x", "y", "z")
  for wrong in (("w", "x"), ("w", "w", "y", "z"), ("w", "x", "y", "")):
    with pytest.raises(UserError, match="model has 4 outputs"):
      names("finetuned", "e", stems=wrong)
  assert not (tmp_path / "e").exists()


def test_the_published_configuration_is_found_beside_the_file(files, tmp_path):
  pytest.importorskip("yaml")
  folder = tmp_path / "small/checkpoints"
  folder.mkdir(parents=True)
  file = shutil.copy(files / "pretrained/model.pth", folder)
  with pytest.raises(UserError, match="num_heads cannot be inferred"):
    import_torch(file, tmp_path / "run")
  for place in (folder.parent, folder):
    (place / "merged_config.yaml").write_text(MERGED)
    assert find_merged_config(file) == place / "merged_config.yaml"
  weights = import_torch(file, tmp_path / "run")
  assert weights.config == dataclasses.replace(MODEL, dtype="auto")
  assert weights.card["configuration"] == "merged_config.yaml"
  (folder / "other.yaml").write_text(MERGED.replace("n_heads: 2", "n_heads: 4"))
  other = import_torch(file, tmp_path / "two", merged_config=folder / "other.yaml")
  assert other.config.num_heads == 4


def test_outputs_of_imported_weights_can_be_selected(files, tmp_path):
  import_torch(files / "pretrained/model.pth", tmp_path / "run", **REST)
  weights = read_weights(tmp_path / "run")
  chosen = [4, 0, 5, 2]
  config, params = select_outputs(weights.params, weights.config, chosen)
  mixture = np.random.default_rng(0).standard_normal((1, 2, 1000), np.float32)
  all_outputs, selected = (
    compiled(c.settled("cpu"), p, mixture)
    for c, p in ((weights.config, weights.params), (config, params))
  )
  np.testing.assert_allclose(selected, all_outputs[:, chosen], atol=1e-5)


def test_exported_files_load_strictly_with_the_published_keys(files, finetuned):
  from benchmarks.baseline.config import BaselineConfig
  from benchmarks.baseline.model import Baseline

  state_dict = torch.load(files / "finetuned/model.pth", weights_only=True)
  windows = {key: state_dict.pop(key) for key in WINDOWS}
  for window in windows.values():
    expected = torch.hann_window(MODEL.n_fft)  # periodic
    torch.testing.assert_close(window, expected, rtol=0, atol=5e-7)
  config = read_weights(finetuned).config
  sizes = {
    name: getattr(config, name)
    for name in BaselineConfig.__dataclass_fields__
    if name not in ("fused_attention", "grouped_bands", "checkpoint_blocks", "autocast")
  }
  baseline = Baseline(BaselineConfig(**sizes)).eval()
  baseline.load_state_dict(state_dict, strict=True)
  mixture = np.random.default_rng(0).standard_normal((1, 2, 1600), np.float32)
  with torch.no_grad():
    expected = baseline(torch.tensor(mixture)).numpy()
  params = read_weights(finetuned).params
  found = compiled(config.settled("cpu"), params, mixture)
  error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
  assert error < 1e-4


def test_a_folder_with_files_is_refused_and_left_as_it_was(files, tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match="already holds files"):
    import_torch(files / "finetuned/model.pth", tmp_path, **REST)
  assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_an_exported_file_comes_back_without_flags(finetuned, tmp_path):
  export(finetuned, tmp_path / "a", tensor_format="torch")
  import_torch(tmp_path / "a/model.pth", tmp_path / "b")
  found, expected = read_weights(tmp_path / "b"), read_weights(finetuned)
  assert found.config == expected.config
  assert found.stems == expected.stems
  assert found.card["configuration"] == "config.json"
  jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_what_is_missing_is_asked_for_by_the_name_of_its_flag(files, tmp_path):
  file = files / "finetuned/model.pth"
  with pytest.raises(UserError, match=r"num_heads=.*--n-heads"):
    import_torch(file, tmp_path / "run")
  with pytest.raises(UserError, match=r"sample_rate=.*--sample-rate"):
    import_torch(file, tmp_path / "run", n_heads=2, n_groups=2, hop=32)
