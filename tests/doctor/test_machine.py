import jax
import pytest

from mixit_jax import cli
from mixit_jax.doctor import machine
from mixit_jax.errors import UserError


@pytest.fixture
def quick(monkeypatch):
  """Everything but the training, which has tests of its own."""
  monkeypatch.setattr(machine, "overfit", lambda kind: "learned")


@pytest.fixture
def cache_folder(monkeypatch):
  """Sets the folder of the compilation cache for one test."""
  before = jax.config.jax_compilation_cache_dir
  yield lambda folder: jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_compilation_cache_dir", before)


def test_a_machine_that_is_ready_has_a_line_for_each_check(quick, capsys):
  assert cli.main(["doctor"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 7
  assert all(line.startswith("ok      ") for line in lines)
  assert "jax " in lines[0]
  assert "8 x cpu" in lines[1]


def test_a_check_that_fails_is_reported_and_the_exit_status_is_1(
  quick, monkeypatch, capsys
):
  def broken():
    raise UserError("mp3 is broken; mend it")

  monkeypatch.setattr(machine, "common_formats", broken)
  assert cli.main(["doctor"]) == 1
  captured = capsys.readouterr()
  assert "FAILED  decoding: mp3 is broken; mend it" in captured.out.splitlines()
  assert "ok      training on one batch (stems): learned" in captured.out.splitlines()
  assert captured.err.splitlines() == ["error: 1 of 7 checks failed"]


def test_missing_packages_are_named(monkeypatch):
  monkeypatch.setattr(machine, "_PACKAGES", ("jax", "no-such-package"))
  with pytest.raises(UserError, match="no-such-package not installed; pip install"):
    machine.versions()


def test_a_gpu_that_jax_does_not_use_is_a_failure(monkeypatch, tmp_path):
  monkeypatch.setattr(machine, "_NVIDIA_DRIVER", tmp_path)
  machine.devices()  # JAX_PLATFORMS=cpu is what was asked for
  monkeypatch.delenv("JAX_PLATFORMS")
  with pytest.raises(UserError, match=r"NVIDIA driver.*mixit-jax\[cuda13\]"):
    machine.devices()


def test_a_cache_that_cannot_be_written_is_a_failure(cache_folder, tmp_path):
  cache_folder(tmp_path / "new")
  assert "can be written" in machine.cache()
  assert not list((tmp_path / "new").iterdir())
  (tmp_path / "file").write_text("")
  cache_folder(tmp_path / "file")
  with pytest.raises(UserError, match="MIXIT_JAX_CACHE"):
    machine.cache()


def test_a_cache_in_the_cloud_is_left_alone(cache_folder):
  cache_folder("gs://bucket/cache")
  assert machine.cache() == "gs://bucket/cache, not tried"
