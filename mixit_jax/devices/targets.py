"""Devices that this machine does not have, described well enough to compile for them.

XLA's compilers for TPUs and NVIDIA GPUs run without a device: the first is the library
libtpu, the second comes with the extra `cuda12`. Nothing here is needed to train.
"""

import contextlib
import importlib.metadata
import importlib.util
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache

from mixit_jax.devices import gpus
from mixit_jax.errors import UserError, one_line

# What libtpu reads when it is loaded: it shall ask nobody which TPU this is, and not
# care who else has loaded it.
_TPU_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_ACCELERATOR_TYPE": "v5litepod-16",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_LOG_DIR": "disabled",
  "TPU_MIN_LOG_LEVEL": "3",
}
_LIBTPU_VARIABLE = "TPU_LIBRARY_PATH"

# Where `make tpu-compiler` puts it: outside the packages, since an installed libtpu
# makes JAX look for a TPU at every start.
LIBTPU_FOLDER = Path(sys.prefix) / "compilers"

_GPU_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")

# Chips of one host along each dimension of a slice.
_HOST = (2, 2, 1)


@dataclass(frozen=True)
class Target:
  """Devices to compile for.

  Attributes:
    name: as it was asked for.
    devices: descriptions, on which nothing can be put or run.
    memory: bytes of each that programs may use.
    options: for the compiler.
  """

  name: str
  devices: tuple[jax.Device, ...]
  memory: int
  options: dict[str, Any]

  def compile(self, lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compile a program that was lowered for these devices."""
    with _without_cache():
      return lowered.compile(self.options or None)


@dataclass(frozen=True)
class _Tpu:
  """A kind of TPU.

  Attributes:
    dimensions: of its slices.
    memory: GiB of a device that programs may use, as the compiler says where one is too
      large (libtpu 0.0.42).
    chip_config: what makes one device of the cores of a chip, where that is not so.
  """

  dimensions: int
  memory: float
  chip_config: str = ""


_TPUS = {
  "v2": _Tpu(2, 7.48),
  "v3": _Tpu(2, 15.48),
  "v4": _Tpu(3, 30.75, "megacore"),
  "v5e": _Tpu(2, 15.75),
  "v5p": _Tpu(3, 95.74),
  "v6e": _Tpu(2, 31.25),
  "tpu7x": _Tpu(3, 94.75),
}


def describe(name: str) -> Target:
  """Describe devices.

  Args:
    name: kind, and shape or number of chips: "v5e:4x4", "v5e:16", "v5p:2x2x4",
      "h100:8"; a kind alone is one chip.

  Raises:
    UserError: the kind or shape is unknown, or its compiler is not installed.
  """
  kind, _, shape = name.lower().partition(":")
  if kind in _TPUS:
    return _describe_tpu(name, _TPUS[kind], kind, _chips(name, shape or "1"))
  if kind in gpus.GPUS:
    return _describe_gpu(name, gpus.GPUS[kind], _chips(name, shape or "1"))
  raise UserError(
    f"{name!r}: known kinds are {', '.join([*_TPUS, *gpus.GPUS])}, with a shape or a "
    "number of chips, for example v5e:4x4 or h100:8"
  )


def libtpu_requirement() -> str:
  """Return the version of libtpu that belongs to this JAX, as pip understands it."""
  requirements = importlib.metadata.requires("jax") or ()
  found = next(line for line in requirements if line.startswith("libtpu"))
  return found.partition(";")[0].strip()


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
  """Keep JAX's cache of programs out of the block.

  What it holds for a GPU can be written, but not read, where there is none.
  """
  enabled = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
  jax.config.update("jax_enable_compilation_cache", False)
  compilation_cache.reset_cache()  # JAX looks at the switch once
  try:
    yield
  finally:
    jax.config.update("jax_enable_compilation_cache", enabled)
    compilation_cache.reset_cache()


def _chips(name: str, shape: str) -> tuple[int, ...]:
  """Read "4x4" or "16"."""
  if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
    raise UserError(f"{name!r}: expected a shape or a number of chips after the colon")
  return tuple(int(side) for side in shape.split("x"))


def _describe_tpu(name: str, tpu: _Tpu, kind: str, shape: tuple[int, ...]) -> Target:
  if len(shape) == 1:
    shape = _slice(shape[0], tpu.dimensions)
  if len(shape) != tpu.dimensions:
    raise UserError(f"{name!r}: slices of {kind} have {tpu.dimensions} dimensions")
  sides = (*shape, 1)[:3]
  options: dict[str, Any] = {}
  if any(side % host for side, host in zip(sides, _HOST, strict=True)):
    options["chips_per_host_bounds"] = sides  # less than a whole host
  if tpu.chip_config:
    options["chip_config_name"] = tpu.chip_config
  for variable, value in {**_TPU_ENVIRONMENT, _LIBTPU_VARIABLE: _libtpu()}.items():
    os.environ.setdefault(variable, value)
  described = f"{kind}:{'x'.join(map(str, shape))}"
  devices = _topology(name, "tpu", topology_name=described, **options)
  return Target(name, devices, int(tpu.memory * 2**30), {})


def _slice(chips: int, dimensions: int) -> tuple[int, ...]:
  """Arrange a number of chips as nearly a square or a cube as it can be: 8 is 2x4."""
  sides = [1] * dimensions
  for factor in sorted(_prime_factors(chips), reverse=True):
    sides[sides.index(min(sides))] *= factor
  return tuple(sorted(sides) if dimensions == 2 else sorted(sides, reverse=True))


def _prime_factors(number: int) -> list[int]:
  factors, divisor = [], 2
  while number > 1:
    while number % divisor == 0:
      factors.append(divisor)
      number //= divisor
    divisor += 1
  return factors


def _libtpu() -> str:
  """Find libtpu: named by its variable, put there by make, or installed."""
  named = os.environ.get(_LIBTPU_VARIABLE)
  places = [Path(named)] if named else [LIBTPU_FOLDER / "libtpu" / "libtpu.so"]
  installed = importlib.util.find_spec("libtpu")
  if installed and installed.origin and not named:
    places.append(Path(installed.origin).parent / "libtpu.so")
  found = next((place for place in places if place.is_file()), None)
  if found is None:
    raise UserError(
      f"the compiler for TPUs is not at {places[0]}; get it by `make tpu-compiler`, or "
      f"by `pip install --no-deps --target {LIBTPU_FOLDER} '{libtpu_requirement()}'` "
      "(175 MB)"
    )
  return str(found)


def _describe_gpu(name: str, gpu: gpus.Gpu, shape: tuple[int, ...]) -> Target:
  if not any(map(importlib.util.find_spec, _GPU_PLUGINS)):
    raise UserError(
      f"{name}: the compiler for GPUs is not installed; it comes with the extra cuda12"
    )
  devices = _topology(
    name,
    "cuda",
    topology_name=gpu.name,
    target_config=gpus.target_config(gpu),
    # Hosts, and GPUs on each.
    topology=f"1x1x{math.prod(shape)}",
  )
  return Target(name, devices, gpus.pool(gpu), dict(gpus.COMPILER_OPTIONS))


def _topology(name: str, platform: str, **description: Any) -> tuple[jax.Device, ...]:
  try:
    found = topologies.get_topology_desc(platform=platform, **description)
  except Exception as error:  # plugins raise many kinds
    raise UserError(f"{name!r} cannot be described: {one_line(error)}") from error
  return tuple(found.devices)
