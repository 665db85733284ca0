"""Starting JAX: the processes of a cluster, and the cache of compiled programs."""

import logging
import os
from pathlib import Path
from typing import Any

import jax

from mixit_jax.backend import check_devices
from mixit_jax.errors import one_line
from mixit_jax.training.cluster import ADDRESS, COUNT, POD_INDEX, find_cluster
from mixit_jax.training.config import MeshConfig
from mixit_jax.training.values import ConfigError

CACHE_VARIABLE = "MIXIT_JAX_CACHE"


def start(config: MeshConfig) -> None:
  """Connects the processes of a cluster and switches the compilation cache on.

  To be called once, before anything else uses a device.

  Raises:
    ConfigError: `mesh.distributed` demands a cluster and none can be joined, or the
      variables of a cluster are incomplete.
    UserError: JAX finds no device.
  """
  enable_compilation_cache()
  if config.distributed != "off" and not jax.distributed.is_initialized():
    cluster = find_cluster(os.environ)
    if config.distributed == "on":
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


def enable_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache folder across runs."""
  if getattr(jax.config, "jax_compilation_cache_dir"):  # noqa: B009 (untyped)
    return
  base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
  folder = os.environ.get(CACHE_VARIABLE) or str(Path(base) / "mixit_jax" / "xla")
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _connect(arguments: dict[str, Any]) -> None:
  try:
    jax.distributed.initialize(**arguments)
  except Exception as error:  # JAX and its detection of clusters raise many kinds
    raise ConfigError(
      f"the processes could not be connected ({one_line(error)}); start all of them "
      "by one launcher, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
      "JAX_PROCESS_ID, or run with --config.mesh.distributed=off"
    ) from error
