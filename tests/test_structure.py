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
  "version": 0,
  "errors": 0,
  "stems": 0,
  "checked": 1,
  "console": 1,
  "files": 1,
  "flags": 1,
  "lock": 1,
  "audio": 2,
  "devices": 2,
  "objectives": 2,
  "separator": 3,
  "data": 3,
  "page": 3,
  "weights": 4,
  "evaluation": 4,
  "training": 5,
  "inference": 5,
  "doctor": 6,
  "plots": 6,
  "commands": 7,
  "main": 7,
  "cli": 8,
  "__main__": 9,
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
    if parts[0] in ("data_prep", "configs", "benchmarks", "experiments", "tests"):
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
import mixit_jax.separator.chunked, mixit_jax.weights
import mixit_jax.objectives.mixit, mixit_jax.evaluation.scores
import mixit_jax.evaluation.channels, mixit_jax.training.step
"""
  subprocess.run([sys.executable, "-c", script], check=True)


def test_to_separate_a_song_nothing_of_training_is_imported():
  script = """
import sys
import mixit_jax.inference.separate, mixit_jax.inference.evaluate, mixit_jax
mixit_jax.load
assert not [name for name in sys.modules if name.startswith("mixit_jax.training")]
"""
  subprocess.run([sys.executable, "-c", script], check=True)
