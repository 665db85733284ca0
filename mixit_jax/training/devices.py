"""Starting JAX: the processes of a cluster, and the cache of compiled programs."""

import logging
import os
from pathlib import Path

import jax

from mixit_jax.training.config import MeshConfig
from mixit_jax.training.values import ConfigError

CACHE_VARIABLE = "MIXIT_JAX_CACHE"


def start(config: MeshConfig) -> None:
  """Connects the processes of a cluster and switches the compilation cache on.

  To be called once, before anything else uses a device.

  Raises:
    ConfigError: `mesh.distributed` demands a cluster and none can be joined.
  """
  enable_compilation_cache()
  if config.distributed == "off" or jax.distributed.is_initialized():
    return
  if config.distributed == "auto" and not _several_processes():
    return
  try:
    jax.distributed.initialize(**_explicit_cluster())
  except (ValueError, RuntimeError) as error:
    raise ConfigError(
      f"the processes could not be connected ({error}); set the launcher's variables, "
      "or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or run with "
      "--config.mesh.distributed=off"
    ) from error
  logging.info("process %d of %d", jax.process_index(), jax.process_count())


def enable_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache folder across runs."""
  if getattr(jax.config, "jax_compilation_cache_dir"):  # noqa: B009 (untyped)
    return
  base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
  folder = os.environ.get(CACHE_VARIABLE) or str(Path(base) / "mixit_jax" / "xla")
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _several_processes() -> bool:
  """Whether a launcher has started more than one process, as far as it tells."""
  counts = ("JAX_NUM_PROCESSES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
  for name in counts:
    if os.environ.get(name, "").isdecimal():
      return int(os.environ[name]) > 1
  workers = os.environ.get("TPU_WORKER_HOSTNAMES", "")
  if workers:
    return "," in workers
  return "JAX_COORDINATOR_ADDRESS" in os.environ


def _explicit_cluster() -> dict:
  """Arguments from JAX's own variables; empty where the launcher is detected."""
  names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
  if not all(name in os.environ for name in names):
    return {}
  address, count, number = (os.environ[name] for name in names)
  return {
    "coordinator_address": address,
    "num_processes": int(count),
    "process_id": int(number),
  }
