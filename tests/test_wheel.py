"""What a wheel holds, tried where there is no checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("mixit_jax", "data_prep")
BUILT_FROM = (*PACKAGES, "configs", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """The files of the wheel, as pip would lay them out."""
  folder = tmp_path_factory.mktemp("wheel")
  source, out = folder / "source", folder / "installed"
  source.mkdir()
  for name in BUILT_FROM:
    copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copyfile
    options = {"symlinks": True} if copy is shutil.copytree else {}
    copy(REPOSITORY / name, source / name, **options)
  flags = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
  subprocess.run(
    [sys.executable, "-m", "pip", "wheel", *flags, f"--wheel-dir={folder}", source],
    check=True,
  )
  (wheel,) = folder.glob("*.whl")
  zipfile.ZipFile(wheel).extractall(out)
  return out


def run(installed, folder, *command):
  """Run a module in a folder that holds nothing, and return what it prints."""
  environment = os.environ | {"PYTHONPATH": str(installed)}
  command = [sys.executable, "-m", *command]
  done = subprocess.run(
    command, cwd=folder, env=environment, capture_output=True, text=True, check=True
  )
  return done.stdout


def test_every_file_of_the_packages_is_there(installed):
  for package in PACKAGES:
    for file in (REPOSITORY / package).rglob("*"):
      if file.is_file() and "__pycache__" not in file.parts:
        assert (installed / file.relative_to(REPOSITORY)).is_file()
  for file in (REPOSITORY / "configs").glob("*.py"):
    assert (installed / "mixit_jax/configs" / file.name).is_file()


def test_the_commands_of_the_readme_find_their_configurations(installed, tmp_path):
  for stage, blocks in (("pretrain.py:large", 9), ("table1.py:M2", 6)):
    flags = [f"--config=configs/{stage}", "--help"]
    text = run(installed, tmp_path, "mixit_jax.main", *flags)
    assert f"--config.model.num_blocks={blocks}\n" in text


def test_commands_start_without_a_checkout(installed, tmp_path):
  assert "separate" in run(installed, tmp_path, "mixit_jax", "--help")
  assert "--audio" in run(installed, tmp_path, "data_prep.fma", "--help")
  assert not list(tmp_path.iterdir())
