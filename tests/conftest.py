"""Settings and fixtures that all tests share."""

import dataclasses
import os
from pathlib import Path

# Eight virtual devices: set before JAX is imported anywhere. Tests compile much and
# compute little: less optimization halves their time.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "")
  + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)

import jax
import pytest
from training.tiny import finetune_config, pretrain_config, write_music

from mixit_jax.training.loop import train

FIXTURES = Path(__file__).parent / "fixtures"
REPOSITORY = Path(__file__).parent.parent

# Programs that several tests compile are compiled once.
jax.config.update(
  "jax_compilation_cache_dir", str(REPOSITORY / ".pytest_cache" / "xla")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

# Broadcasting between ranks hides mistakes in shapes: tests forbid it.
jax.config.update("jax_numpy_rank_promotion", "raise")


# The longest files, first to be handed to a worker: the others fill up the rest.
LONGEST = (
  "test_tpu",
  "test_real_music",
  "test_restarts",
  "test_loop",
  "test_steps",
  "test_torch_witness",
  "test_forecast",
  "test_browser",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Moves the longest files to the front."""

  def rank(item: pytest.Item) -> int:
    return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)

  items.sort(key=rank)


@pytest.fixture(scope="session")
def fixtures() -> Path:
  """Folder of the reference vectors."""
  return FIXTURES


@pytest.fixture(scope="session")
def realdata() -> Path:
  """Folder of real music; tests that need it are skipped where it is absent."""
  folder = Path(os.environ.get("MIXIT_REALDATA", REPOSITORY.parent / "shared/realdata"))
  if not folder.is_dir():
    pytest.skip("no folder of real music (set MIXIT_REALDATA)")
  return folder


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """Folder of the tiny data set."""
  return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="session")
def pretrained(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A finished run of pre-training."""
  workdir = tmp_path_factory.mktemp("runs") / "pretrain"
  train(pretrain_config(music), workdir)
  return workdir


@pytest.fixture(scope="session")
def finetuned(
  music: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
  """A finished run of fine-tuning, started from the pre-training."""
  workdir = tmp_path_factory.mktemp("runs") / "finetune"
  config = finetune_config(music)
  init = dataclasses.replace(config.init, run=str(pretrained))
  train(dataclasses.replace(config, init=init), workdir)
  return workdir
