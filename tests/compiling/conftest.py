"""What all compile tests share."""

import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache


@pytest.fixture(autouse=True)
def _no_compilation_cache():
  """Without a device nothing can be loaded from the cache."""
  before = jax.config.jax_enable_compilation_cache
  jax.config.update("jax_enable_compilation_cache", False)
  reset_cache()
  yield
  jax.config.update("jax_enable_compilation_cache", before)
  reset_cache()
