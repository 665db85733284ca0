"""The package's side of the contests: makers of tasks.

They measure what users train: the configuration of configs/pretrain.py with its
dropout, through the functions that a run and `mixit-jax doctor` use.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.turns import Task
from configs import pretrain
from mixit_jax.devices import memory
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.doctor.forecast import Program, compile_step
from mixit_jax.objectives import mixit
from mixit_jax.separator import init
from mixit_jax.separator.chunked import separate_long
from mixit_jax.separator.compiled import chunk_separator
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.training.config import Config
from mixit_jax.training.objectives import make_objective

RATE = 44100


def pretraining(
  size: str, num_sources: int, seconds: float, batch: int, dtype: str, remat: str
) -> Config:
  """Return the configuration of a pre-training, shorter or smaller where asked."""
  return pretrain.get_config(size).changed(
    model={"num_sources": num_sources, "dtype": dtype, "remat": remat},
    data={"seconds": seconds},
    run={"batch": batch},
  )


def compiled_step(**choices: Any) -> Program:
  """Compile a pre-training step for all devices; see `pretraining`."""
  mesh = make_mesh()
  return compile_step(make_objective(pretraining(**choices), mesh), mesh)


def train_step(**choices: Any) -> Task:
  """Take pre-training steps on noise; see `pretraining`."""
  return steps(compiled_step(**choices))


def steps(program: Program) -> Task:
  """Take the steps of a compiled program on noise."""
  state = jax.tree.map(
    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding), program.state
  )
  state = state.replace(params=_random_params(program.state.params))
  batch = program.random_batch()

  def run() -> None:
    nonlocal state
    state, metrics = program.step(state, batch)
    jax.block_until_ready((state, metrics))

  return Task(run, _device_memory)


def separation(
  size: str,
  num_sources: int,
  seconds: float,
  chunk: float,
  hop: float,
  batch: int,
  dtype: str = "auto",
) -> Task:
  """Separate a recording of noise, chunk by chunk; see `separating`."""
  config = SeparatorConfig.preset(size, num_sources=num_sources, dtype=dtype)
  return separating(config, seconds, chunk, hop, batch)


def separating(
  config: SeparatorConfig, seconds: float, chunk: float, hop: float, batch: int
) -> Task:
  """Separate a recording of noise on one device, `batch` chunks at a time."""
  layout = jax.eval_shape(lambda: init(config, jax.random.key(0)))
  separate = chunk_separator(config, _random_params(layout))
  rate = config.sample_rate
  mixture = np.array(_noise(2, round(seconds * rate)))

  def run() -> None:
    separate_long(separate, mixture, round(chunk * rate), round(hop * rate), batch)

  return Task(run, _device_memory)


def objective(num_sources: int, seconds: float, batch: int, assignment: Any) -> Task:
  """Compute the MixIT loss of given estimates and its gradient."""
  estimates = _noise(batch, num_sources, 2, round(seconds * RATE))
  mixtures = _noise(batch, 2, 2, round(seconds * RATE))

  def loss(estimates: jax.Array, mixtures: jax.Array) -> jax.Array:
    matrix = mixit.assign(jax.lax.stop_gradient(estimates), mixtures, assignment)
    return jnp.mean(mixit.mixit_loss(mixit.remix(estimates, matrix), mixtures))

  return _calls(jax.jit(jax.value_and_grad(loss)), estimates, mixtures)


def assignment(num_sources: int, seconds: float, batch: int, kind: str) -> Task:
  """Assign given estimates to mixtures, "exact" or "efficient"."""
  estimates = _noise(batch, num_sources, 2, round(seconds * RATE))
  mixtures = _noise(batch, 2, 2, round(seconds * RATE))
  assign: dict[str, Callable] = {
    "exact": mixit.assign_exact,
    "efficient": mixit.assign_least_squares,
  }
  return _calls(jax.jit(assign[kind]), estimates, mixtures)


def matrix_product(length: int, dtype: str) -> Task:
  """Multiply two square matrices."""
  a = _noise(length, length).astype(dtype)
  return _calls(jax.jit(jnp.matmul), a, a)


def _calls(function: Callable, *arguments: jax.Array) -> Task:
  return Task(lambda: jax.block_until_ready(function(*arguments)), _device_memory)


def _random_params(layout: Any) -> Any:
  """Draw small random parameters one by one, as a file of weights is read.

  The initializer draws all at once, which takes more memory than a separation.
  """
  random = np.random.default_rng(0)
  replicated = NamedSharding(make_mesh(), P())
  return jax.tree.map(
    lambda leaf: jax.device_put(
      random.standard_normal(leaf.shape, np.float32) / 20, leaf.sharding or replicated
    ),
    layout,
  )


def _noise(*shape: int) -> jax.Array:
  return jax.random.normal(jax.random.key(0), shape) / 10


def _device_memory() -> int | None:
  devices = jax.local_devices()
  return None if devices[0].platform == "cpu" else memory.peak(devices)
