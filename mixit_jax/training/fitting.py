"""Making a step fit: remat and accumulation from the memory of the devices.

Both are chosen before anything is compiled, from an estimate that was fitted to
compiled programs (docs/scaling.md) and lies above them. They change no result beyond
rounding. The same devices give the same choice, so that a restart is bit-exact.
"""

import contextlib
import logging
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mixit_jax.devices import memory
from mixit_jax.devices.platforms import platform_of
from mixit_jax.errors import UserError
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.waveform import num_frames
from mixit_jax.training.config import Config
from mixit_jax.training.initialize import state_layout

# Bytes that a step takes beside state, gradients and examples.
_BASE = 2**30
# How often a block's saved arrays and a set of masks are in memory at a time, with what
# is computed from them.
_PER_SAVED, _PER_MASKS = 1.8, 4.0
# Arrays that are kept where nothing is computed again, over those of "dots".
_ALL_OVER_DOTS = 1.6

# How XLA and CUDA say that memory has run out.
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")


class TooLargeError(UserError):
  """A step does not fit into the memory of the devices."""


def fit_to_devices(config: Config, mesh: Mesh) -> Config:
  """Settle an automatic remat and accumulation for the devices of a mesh.

  All processes must call it: they choose by the smallest device of all.
  """
  offered = memory.offered(mesh.local_devices) or 0
  if jax.process_count() > 1:
    offered = int(np.min(multihost_utils.process_allgather(np.float64(offered))))
  settled = fit(config, mesh, offered or None)
  if settled != config and offered:
    logging.info(describe_fit(settled, mesh, offered))
  return settled


def fit(config: Config, mesh: Mesh, offered: int | None) -> Config:
  """Settle an automatic remat and accumulation for devices of a given memory.

  The matrix products are kept ("dots") in as few parts of the batch as fit; only where
  a single example does not, whole blocks are computed again.

  Args:
    config: of the run.
    mesh: its devices, which may be described only.
    offered: bytes that the step may use on each device. None, where the device does
      not say: the batch stays whole.

  Returns:
    the configuration with both keys settled: the most frugal where nothing fits.
  """
  choices = list(_choices(config, mesh))
  if offered is None:
    return choices[0]
  return next((c for c in choices if step_bytes(c, mesh) <= offered), choices[-1])


def describe_fit(config: Config, mesh: Mesh, offered: int) -> str:
  """Say in one line what was chosen and why."""
  needed = step_bytes(config, mesh) / 2**30
  return (
    f"model.remat={config.model.remat}, run.accumulation={config.run.accumulation}: "
    f"at most {needed:.1f} of {offered / 2**30:.1f} GiB expected on each device"
  )


def remedy(config: Config, mesh: Mesh) -> str:
  """Name what makes a step need less memory and is not done by the run yet."""
  run, devices = config.run, mesh.devices.size
  parts = next(
    (
      parts
      for parts in range(run.parts + 1, run.batch + 1)
      if run.batch % (parts * devices) == 0
    ),
    None,
  )
  changes = []
  if parts:
    changes.append(f"run.accumulation={parts} (the same results, smaller parts)")
  if config.model.remat != "block":
    changes.append("model.remat=block (computes more)")
  if mesh.shape["fsdp"] < devices:
    changes.append(f"mesh.fsdp={devices} (divides the state)")
  changes.append("more devices" if parts is None else "a smaller run.batch")
  return ", or ".join(changes)


@contextlib.contextmanager
def memory_errors(config: Config, mesh: Mesh) -> Iterator[None]:
  """Turn what XLA says where memory runs out into one line with the remedy.

  Args:
    config: of the run, remat and accumulation settled.
    mesh: its devices.

  Raises:
    TooLargeError: the block has run out of memory while compiling or computing.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if not any(words in str(error) for words in _OUT_OF_MEMORY):
      raise
    raise TooLargeError(
      f"model.remat={config.model.remat} with run.accumulation={config.run.parts} does "
      f"not fit into the memory of the devices; try {remedy(config, mesh)}"
    ) from error


def step_bytes(config: Config, mesh: Mesh) -> float:
  """Estimate the memory that a step takes at most on each device, in bytes.

  Args:
    config: of the run, remat and accumulation settled.
    mesh: its devices.
  """
  state = state_layout(config, mesh)
  gradients = memory.whole_bytes(state.params)
  model = config.model.settled(platform_of(mesh))
  examples = config.run.batch // (config.run.parts * mesh.devices.size)
  return (
    _BASE
    + memory.device_bytes(state)
    # Gradients, and their sum over the parts.
    + gradients * (2 if config.run.parts > 1 else 1)
    + examples * example_bytes(model, config.example_samples)
  )


def example_bytes(model: SeparatorConfig, samples: int) -> float:
  """Estimate the bytes that a step takes for each example of `samples` samples.

  Args:
    model: configuration of the separator, settled for a platform.
    samples: length L of the example.
  """
  frames, bins = num_frames(samples, model.n_fft, model.hop), model.n_fft // 2 + 1
  places = frames * len(model.bands)
  size = 2 if model.dtype == "bfloat16" else 4
  # Results of the matrix products of both paths of a block: two feed-forward layers,
  # attention with its linear layers.
  products = 2 * (2 * (2 * model.ffn_dim + model.embed_dim) + 5 * model.embed_dim)
  block = places * size * products
  between = places * size * model.embed_dim
  kept = {
    "none": _ALL_OVER_DOTS * block * model.num_blocks,
    "dots": block * model.num_blocks,
    "block": between * model.num_blocks + block,
  }
  outputs = max(model.num_sources, model.num_masks)
  masks = 8 * outputs * model.num_channels * frames * bins  # complex64
  return _PER_SAVED * kept[model.remat] + _PER_MASKS * masks


def _choices(config: Config, mesh: Mesh) -> Iterator[Config]:
  """Yield what is allowed, the fastest first."""
  remat, parts = config.model.remat, config.run.accumulation
  remats = ("dots", "block") if remat == "auto" else (remat,)
  each = max(1, config.run.batch // mesh.devices.size)
  divisors = [n for n in range(1, each + 1) if each % n == 0] if not parts else [parts]
  for kind in remats:
    for number in divisors:
      yield config.changed(model={"remat": kind}, run={"accumulation": number})
