"""Starting JAX: its devices, the processes of a cluster, the cache of programs."""

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax._src import distributed

from mixit_jax.devices.cluster import ADDRESS, COUNT, POD_INDEX, find_cluster
from mixit_jax.errors import ConfigError, UserError, one_line

# Seconds to wait for the other processes, and until that is said.
PATIENCE = 300.0
_QUIET = 1.0

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
  use_standard_types()
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
  use_standard_types()
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


def use_standard_types() -> None:
  """Compute in float32, whatever `JAX_ENABLE_X64` and the like ask for."""
  jax.config.update("jax_enable_x64", False)
  jax.config.update("jax_numpy_dtype_promotion", "standard")


@contextlib.contextmanager
def standard_types() -> Iterator[None]:
  """Do so within the block only: in Python, other programs share these switches."""
  with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
    yield


def _connect(arguments: dict[str, Any]) -> None:
  """Meet the other processes; waiting can be interrupted, and says for whom.

  JAX waits in C++, where no signal is looked at, and aborts in the end. It therefore
  waits in a thread of its own, and a little longer than this one.
  """
  failures: list[Exception] = []

  def connect() -> None:
    try:
      jax.distributed.initialize(
        **arguments, initialization_timeout=round(PATIENCE) + 60
      )
    except Exception as error:  # JAX and its detection of clusters raise many kinds
      failures.append(error)

  thread = threading.Thread(target=connect, name="connect", daemon=True)
  thread.start()
  end = time.monotonic() + PATIENCE
  try:
    thread.join(_QUIET)
    if thread.is_alive():
      logging.warning("%s; at most %.0f s", _waiting(arguments), PATIENCE)
    while thread.is_alive() and time.monotonic() < end:
      thread.join(0.2)
  except KeyboardInterrupt:
    _leave(130)
    raise
  reason = ""
  if thread.is_alive():
    reason = f"{_waiting(arguments)}, for {PATIENCE:.0f} s in vain"
    _leave(1)
  elif failures:
    reason = one_line(failures[0])
  if reason:
    raise ConfigError(
      f"the processes could not be connected ({reason}); start all of them "
      "by one launcher, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
      "JAX_PROCESS_ID, or run with --config.mesh.distributed=off"
    ) from (failures[0] if failures else None)


def _leave(status: int) -> None:
  """End the process at its end, without JAX's attempt to finish what still waits."""
  atexit.register(os._exit, status)


def _waiting(arguments: dict[str, Any]) -> str:
  """Say for whom this process waits, and where."""
  state = distributed.global_state  # what JAX has found by itself
  address = arguments.get("coordinator_address") or state.coordinator_address
  count = arguments.get("num_processes") or state.num_processes
  number = arguments.get("process_id", state.process_id)
  others = f"{count - 1} other process(es)" if count else "the other processes"
  where = f" at {address}" if address else ""
  return f"process {number} waits for {others}{where}"
