"""Fourier transforms of the last axis that leave the other axes sharded.

Up to jax 0.11 XLA does not partition its transform: it gathers the whole operand on
every device, here the spectrograms of all sources of the global batch. These
transforms say that the leading axes are independent, so that each device transforms
its own part. A later jax does so by itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

Transform = Callable[[Array, int], Array]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def rfft(signal: Array, size: int) -> Array:
  """One-sided transform of real signals [..., size] to complex [..., size / 2 + 1]."""
  return _sharded_rfft(signal, size)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def irfft(spectrum: Array, size: int) -> Array:
  """Inverse of `rfft`: complex [..., size / 2 + 1] to real [..., size]."""
  return _sharded_irfft(spectrum, size)


def _rfft(signal: Array, size: int) -> Array:
  return jnp.fft.rfft(signal, size)


def _irfft(spectrum: Array, size: int) -> Array:
  return jnp.fft.irfft(spectrum, size)


def _rfft_transpose(gradient: Array, size: int) -> Array:
  signal = jax.ShapeDtypeStruct((*gradient.shape[:-1], size), jnp.float32)
  return jax.linear_transpose(lambda x: _rfft(x, size), signal)(gradient)[0]


def _irfft_transpose(gradient: Array, size: int) -> Array:
  spectrum = jax.ShapeDtypeStruct((*gradient.shape[:-1], size // 2 + 1), jnp.complex64)
  return jax.linear_transpose(lambda x: _irfft(x, size), spectrum)(gradient)[0]


def _sharded(transform: Transform) -> Transform:
  """The transform [..., i] -> [..., j] with its leading axes free to be sharded."""

  def leading(shape: jax.ShapeDtypeStruct) -> NamedSharding:
    sharding: Any = shape.sharding
    axes = len(shape.shape) - 1
    return NamedSharding(sharding.mesh, P(*sharding.spec[:axes]))

  def infer(size: int, mesh: Any, arguments: Any, result: Any) -> NamedSharding:
    return leading(arguments[0])

  def partition(size: int, mesh: Any, arguments: Any, result: Any) -> Any:
    sharding = leading(arguments[0])
    return mesh, lambda x: transform(x, size), sharding, (sharding,)

  wrapped = custom_partitioning(transform, static_argnums=(1,))
  wrapped.def_partition(
    partition,
    infer_sharding_from_operands=infer,
    sharding_rule="... i -> ... j",
    need_replication_factors=("i", "j"),
  )
  return wrapped


_sharded_rfft = _sharded(_rfft)
_sharded_irfft = _sharded(_irfft)
_sharded_rfft_transpose = _sharded(_rfft_transpose)
_sharded_irfft_transpose = _sharded(_irfft_transpose)

rfft.defvjp(
  lambda signal, size: (rfft(signal, size), None),
  lambda size, _, gradient: (_sharded_rfft_transpose(gradient, size),),
)
irfft.defvjp(
  lambda spectrum, size: (irfft(spectrum, size), None),
  lambda size, _, gradient: (_sharded_irfft_transpose(gradient, size),),
)
