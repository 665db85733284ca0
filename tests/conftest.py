"""Settings and fixtures that all tests share."""

import os
from pathlib import Path

# Eight virtual devices: set before JAX is imported anywhere.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import pytest

# Broadcasting between ranks hides mistakes in shapes: tests forbid it.
jax.config.update("jax_numpy_rank_promotion", "raise")

FIXTURES = Path(__file__).parent / "fixtures"
REPOSITORY = Path(__file__).parent.parent


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
