"""Starting JAX: its devices, the processes of a cluster, the cache of programs."""

import logging
import os
from pathlib import Path
from typing import Any

import jax

from mixit_jax.devices.cluster import ADDRESS, COUNT, POD_INDEX, find_cluster
from mixit_jax.errors import ConfigError, UserError, one_line

CACHE_VARIABLE = "MIXIT_JAX_CACHE"


def start(distributed: str) -> None:
  """Connect the processes of a cluster and switch the compilation cache on.

  To be called once, before anything else uses a device.

  Args:
    distributed: "auto" connects the processes when a cluster is detected, "on"
      demands one, "off" never connects.

  Raises:
    ConfigError: a cluster is demanded and none can be joined, or its variables are
      incomplete.
    UserError: JAX finds no device.
  """
  enable_compilation_cache()
  if distributed != "off" and not jax.distributed.is_initialized():
    cluster = find_cluster(os.environ)
    if distributed == "on":
      _connect(cluster.arguments if cluster else {})  # what JAX finds by itself
    elif cluster and cluster.processes > 1:
      _connect(cluster.arguments)
    elif POD_INDEX in os.environ and cluster is None:
      logging.warning(
        "%s is set, but %s and %s are not: this pod trains alone",
        POD_INDEX,
        ADDRESS,
        COUNT,
      )
  check_devices()
  if jax.process_count() > 1:
    logging.info("process %d of %d", jax.process_index(), jax.process_count())


def check_devices() -> None:
  """Start the devices, so that what is wrong with them shows before anything else.

  Raises:
    UserError: JAX finds no device, or `JAX_PLATFORMS` asks for one that is not there.
  """
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # the latter without a plugin
    asked = jax.config.jax_platforms  # type: ignore[attr-defined]
    where = f"JAX_PLATFORMS={asked}: " if asked else ""
    reason = one_line(error) if str(error) else "nothing installed offers it"
    raise UserError(
      f"{where}JAX cannot use the devices ({reason}); install the extra of "
      "the accelerator (cuda12, cuda13, tpu), or set JAX_PLATFORMS=cpu"
    ) from error


def enable_compilation_cache() -> str:
  """Keep compiled programs in the user's cache folder across runs; return its path."""
  chosen: str = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009 (untyped)
  if chosen:
    return chosen
  base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
  folder = os.environ.get(CACHE_VARIABLE) or str(Path(base) / "mixit_jax" / "xla")
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
  return folder


def _connect(arguments: dict[str, Any]) -> None:
  try:
    jax.distributed.initialize(**arguments)
  except Exception as error:  # JAX and its detection of clusters raise many kinds
    raise ConfigError(
      f"the processes could not be connected ({one_line(error)}); start all of them "
      "by one launcher, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
      "JAX_PROCESS_ID, or run with --config.mesh.distributed=off"
    ) from error
