"""Fourier transforms of the last axis that leave the other axes sharded.

Up to jax 0.11 XLA does not partition its transform on CPU and GPU: it gathers the whole
operand on every device, here the spectrograms of all sources of the global batch. So
these transforms declare the leading axes independent there, and each device transforms
its own part. XLA for TPUs does so by itself, and has no custom partitioning.
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

from mixit_jax.devices.platforms import by_platform

Transform = Callable[[Array, int], Array]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def rfft(signal: Array, size: int) -> Array:
  """Transform real signals [..., size] to complex spectra [..., size / 2 + 1]."""
  return _for_each_platform(_rfft, signal, size)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def irfft(spectrum: Array, size: int) -> Array:
  """Transform complex spectra [..., size / 2 + 1] to real signals [..., size]."""
  return _for_each_platform(_irfft, spectrum, size)


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


def _for_each_platform(transform: Transform, x: Array, size: int) -> Array:
  return by_platform(
    default=lambda x: _SHARDED[transform](x, size), tpu=lambda x: transform(x, size)
  )(x)


def _sharded(transform: Transform) -> Transform:
  """Leave the leading axes of a transform [..., i] -> [..., j] free to be sharded."""

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


_SHARDED: dict[Transform, Transform] = {
  transform: _sharded(transform)
  for transform in (_rfft, _irfft, _rfft_transpose, _irfft_transpose)
}

rfft.defvjp(
  lambda signal, size: (rfft(signal, size), None),
  lambda size, _, gradient: (_for_each_platform(_rfft_transpose, gradient, size),),
)
irfft.defvjp(
  lambda spectrum, size: (irfft(spectrum, size), None),
  lambda size, _, gradient: (_for_each_platform(_irfft_transpose, gradient, size),),
)
