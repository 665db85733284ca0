"""What holds for the whole package: imports and floors."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import data_prep
import mixit_jax

# A module imports only from floors below its own, or from its own package.
FLOORS = {
  "errors": -2,
  "version": -2,
  "console": -1,
  "flags": -1,
  "backend": -1,
  "audio": 0,
  "objectives": 0,
  "separator": 1,
  "data": 2,
  "reports": 2,
  "training": 3,
  "inference": 4,
  "doctor": 4,
  "main": 5,
  "cli": 5,
}

# Host libraries that a machine which only computes may lack.
HOST_LIBRARIES = {
  "grain",
  "array_record",
  "orbax",
  "soundfile",
  "ml_collections",
  "tensorboardX",
}


def modules(package):
  names = [package.__name__]
  for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    names.append(found.name)
  return names


def imported(name):
  """Full names of the modules that a module imports, anywhere in it."""
  spec = importlib.util.find_spec(name)
  for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", modules(mixit_jax) + modules(data_prep))
def test_every_module_can_be_imported(name):
  assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("name", modules(mixit_jax)[1:])
def test_a_floor_imports_only_floors_below(name):
  own = name.split(".")[1]
  for other in imported(name):
    parts = other.split(".")
    if parts[0] in ("data_prep", "configs", "benchmarks", "tests"):
      pytest.fail(f"{name} imports {other}")
    if parts[0] != "mixit_jax" or len(parts) < 2 or parts[1] == own:
      continue
    assert FLOORS[parts[1]] < FLOORS[own], f"{name} imports {other}"


def test_models_objectives_and_steps_need_only_jax_and_flax():
  script = f"""
import sys
class Absent:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in {HOST_LIBRARIES!r}:
      raise ImportError(name)
sys.meta_path.insert(0, Absent())
import mixit_jax.audio.spectral, mixit_jax.separator.bs_locoformer
import mixit_jax.separator.chunked, mixit_jax.separator.torch_weights
import mixit_jax.objectives.mixit, mixit_jax.objectives.channels
import mixit_jax.objectives.scores, mixit_jax.training.steps, mixit_jax.training.losses
"""
  subprocess.run([sys.executable, "-c", script], check=True)
