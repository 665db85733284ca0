"""Unsupervised pre-training for music source separation in JAX."""

from typing import TYPE_CHECKING, Any

from mixit_jax.version import __version__

if TYPE_CHECKING:
  from mixit_jax.inference.model import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
  """Import `load` when it is asked for: `import mixit_jax` alone stays light."""
  if name == "load":
    from mixit_jax.inference.model import load

    return load
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
