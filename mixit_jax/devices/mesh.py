"""Devices as a mesh, and how state and batches are laid out on it.

One mesh `("data", "fsdp")` over all devices of all hosts. The batch is divided over
both axes; parameters and optimizer state over `fsdp`. What every device does with its
own part stands in `jax.shard_map`; there `gather` and `average` are all that travels.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mixit_jax.errors import ConfigError

BATCH_AXES = ("data", "fsdp")

# Smaller leaves (norm gains, biases) stay whole on every device.
_SMALLEST_SHARDED = 2**14


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
  """Arrange devices.

  Args:
    fsdp: devices over which parameters are divided.
    devices: those to arrange; None takes all of all hosts.

  Raises:
    ConfigError: `fsdp` does not divide the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  if len(devices) % fsdp:
    raise ConfigError(
      f"mesh.fsdp = {fsdp} does not divide the {len(devices)} devices; choose a "
      f"divisor of {len(devices)}"
    )
  return jax.make_mesh(
    (len(devices) // fsdp, fsdp),
    BATCH_AXES,
    axis_types=(AxisType.Auto,) * 2,
    devices=devices,
  )


def local_mesh(count: int | None = None) -> Mesh:
  """Arrange the first `count` devices of this host; None takes all."""
  return make_mesh(devices=jax.local_devices()[:count])


def check_batch(batch: int, accumulation: int, mesh: Mesh) -> None:
  """Raise a ConfigError where the mesh cannot divide the batch."""
  devices = mesh.devices.size
  if batch % (accumulation * devices):
    raise ConfigError(
      f"run.batch = {batch} in run.accumulation = {accumulation} parts cannot be "
      f"divided over {devices} devices: {batch} is not a multiple of {accumulation} x "
      f"{devices} = {accumulation * devices}; change run.batch or run.accumulation"
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Lay out each array of a batch: its first axis over all devices."""
  return NamedSharding(mesh, P(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
  """Lay out what every device holds whole."""
  return NamedSharding(mesh, P())


def state_sharding(state: Any, mesh: Mesh) -> Any:
  """Lay out each leaf of a state (arrays or `jax.ShapeDtypeStruct`).

  Over `fsdp` goes the largest axis that it divides; small leaves stay whole.
  """
  size = mesh.shape["fsdp"]

  def leaf_sharding(leaf: Any) -> NamedSharding:
    axes = [axis for axis, length in enumerate(leaf.shape) if length % size == 0]
    if size == 1 or not axes or np.prod(leaf.shape) < _SMALLEST_SHARDED:
      return replicated(mesh)
    axis = max(axes, key=lambda a: leaf.shape[a])
    return NamedSharding(mesh, P(*(None,) * axis, "fsdp"))

  return jax.tree.map(leaf_sharding, state)


def specs(shardings: Any) -> Any:
  """Return the `PartitionSpec` of each sharding of a tree."""
  return jax.tree.map(lambda sharding: sharding.spec, shardings)


def gather(tree: Any, shardings: Any, types: Any) -> Any:
  """Bring leaves whole to every device; within `jax.shard_map`.

  Args:
    tree: arrays.
    shardings: of each.
    types: in which each travels; what arrives has its own type again.
  """

  def whole(leaf: jax.Array, sharding: NamedSharding, dtype: str) -> jax.Array:
    axis = _divided_axis(sharding)
    if axis is None:
      return leaf
    part = leaf.astype(dtype)
    return lax.all_gather(part, "fsdp", axis=axis, tiled=True).astype(leaf.dtype)

  return jax.tree.map(whole, tree, shardings, types)


def average(tree: Any, shardings: Any) -> Any:
  """Average leaves over all devices, each keeps its part; within `jax.shard_map`."""

  def mean(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
    axis = _divided_axis(sharding)
    if axis is None:
      return lax.pmean(leaf, BATCH_AXES)
    part = lax.psum_scatter(leaf, "fsdp", scatter_dimension=axis, tiled=True)
    return lax.psum(part, "data") / sharding.mesh.size

  return jax.tree.map(mean, tree, shardings)


def _divided_axis(sharding: NamedSharding) -> int | None:
  """Return the axis of a leaf that is divided over fsdp, or None."""
  names = tuple(sharding.spec)
  return names.index("fsdp") if "fsdp" in names else None


def put_batch(batch: Any, mesh: Mesh) -> Any:
  """Put this host's part of a batch, a tree of arrays, on the mesh."""
  sharding = batch_sharding(mesh)
  return jax.tree.map(
    lambda part: jax.make_array_from_process_local_data(sharding, part), batch
  )


def local_copy(tree: Any, mesh: Mesh) -> Any:
  """Copy a tree whole to the devices of this host; every host must call it."""
  whole = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)
  local = replicated(local_mesh())
  if jax.process_count() == 1:
    return jax.device_put(whole, local)
  return jax.tree.map(
    lambda x: jax.device_put(np.asarray(x.addressable_data(0)), local), whole
  )
