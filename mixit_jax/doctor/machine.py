"""Is this machine ready? Versions, devices, decoding, cache and a little training."""

import os
import platform
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from mixit_jax.devices import memory
from mixit_jax.devices.start import (
  CACHE_VARIABLE,
  check_devices,
  enable_compilation_cache,
)
from mixit_jax.doctor.checks import Check
from mixit_jax.doctor.codecs import common_formats, further_formats
from mixit_jax.doctor.overfit import overfit
from mixit_jax.errors import UserError, one_line

_PACKAGES = (
  "mixit-jax",
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "array-record",
  "numpy",
  "librosa",
  "soundfile",
)
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def machine_checks() -> Iterator[Check]:
  """Yield the checks of a machine, one after the other."""
  yield Check("versions", versions)
  yield Check("devices", devices)
  yield Check("compilation cache", cache)
  yield Check("decoding", common_formats)
  yield Check("further decoding", further_formats)
  for kind in ("mixit", "stems"):
    yield Check(f"training on one batch ({kind})", partial(overfit, kind))


def versions() -> str:
  """List the versions of Python and of the packages that matter.

  Raises:
    UserError: packages are missing.
  """
  found, missing = [f"python {platform.python_version()}"], []
  for name in _PACKAGES:
    try:
      found.append(f"{name} {version(name)}")
    except PackageNotFoundError:
      missing.append(name)
  if missing:
    raise UserError(
      f"{', '.join(missing)} not installed; pip install mixit-jax brings all of them"
    )
  return ", ".join(found)


def devices() -> str:
  """Tell kind, number and memory of the devices.

  Raises:
    UserError: there are none that JAX can use, or not those of this machine.
  """
  check_devices()
  local = jax.local_devices()
  if (
    local[0].platform == "cpu"
    and _NVIDIA_DRIVER.exists()
    and not os.environ.get("JAX_PLATFORMS")
  ):
    raise UserError(
      "there is an NVIDIA driver, but JAX uses the CPU; pip install "
      "'mixit-jax[cuda13]' (or cuda12), or set JAX_PLATFORMS=cpu"
    )
  limit = memory.offered(local)
  room = f", {limit / 2**30:.1f} GiB for JAX on each" if limit else ""
  kind = local[0].device_kind
  cores = f", {os.cpu_count()} cores" if local[0].platform == "cpu" else ""
  return f"{len(local)} x {kind}{room}{cores}, {jax.process_count()} process"


def cache() -> str:
  """Try the folder of the compilation cache by writing a file.

  Raises:
    UserError: the folder cannot be written.
  """
  folder = enable_compilation_cache()
  if "://" in folder:
    return f"{folder}, not tried"
  try:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b"0")
  except OSError as error:
    raise UserError(
      f"{one_line(error)}; every start compiles anew, for a minute or more: set "
      f"{CACHE_VARIABLE} to a folder that can be written"
    ) from error
  return f"{folder} can be written"
