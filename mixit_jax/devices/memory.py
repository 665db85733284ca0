"""Memory: what devices offer, what is free on them, and what was in use at most."""

import os
import resource
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def offered(devices: Sequence[jax.Device]) -> int | None:
  """Return the bytes that programs may use on the smallest device; None if unknown."""
  limits = [_statistics(device).get("bytes_limit") for device in devices]
  return min((limit for limit in limits if limit), default=None)


def free(devices: Sequence[jax.Device]) -> int | None:
  """Return the bytes that are free on the fullest device; None if unknown."""
  statistics = [_statistics(device) for device in devices]
  if not all(each.get("bytes_limit") for each in statistics):
    return None
  return min(each["bytes_limit"] - each.get("bytes_in_use", 0) for each in statistics)


def peak(devices: Sequence[jax.Device]) -> int:
  """Return the largest bytes in use so far.

  Of the fullest device, or of this process where devices do not say.
  """
  in_use = max(_statistics(device).get("peak_bytes_in_use", 0) for device in devices)
  return in_use or process_peak()


def device_bytes(layout: Any) -> int:
  """Count the bytes of one device's part of a layout (`jax.ShapeDtypeStruct`s)."""
  return sum(
    int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(layout)
  )


def whole_bytes(layout: Any) -> int:
  """Count the bytes of all devices' parts together, copies not counted."""
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(layout))


def machine_memory() -> int:
  """Return the bytes of memory that this machine has."""
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def process_peak() -> int:
  """Return the largest bytes that this process has had in memory so far."""
  unit = 1 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _statistics(device: jax.Device) -> dict[str, int]:
  """Return what a device says of its memory; a CPU says nothing."""
  if device.platform == "cpu":
    return {}
  return device.memory_stats() or {}
