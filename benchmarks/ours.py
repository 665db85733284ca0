"""The package's side of the contests: makers of tasks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contest import Task
from mixit_jax.objectives import mixit
from mixit_jax.separator.bs_locoformer import Separator, SeparatorConfig
from mixit_jax.separator.chunked import separate_long
from mixit_jax.separator.compiled import chunk_separator
from mixit_jax.training.config import Config, ObjectiveConfig
from mixit_jax.training.losses import make_loss
from mixit_jax.training.optimizer import make_optimizer
from mixit_jax.training.state import new_state
from mixit_jax.training.steps import make_train_step

RATE = 44100


def prepare_step(
  size: str,
  num_sources: int,
  seconds: float,
  batch: int,
  dtype: str = "auto",
  remat: str = "none",
  assignment: Any = "efficient",
) -> tuple[Any, Any, Any]:
  """A jitted pre-training step, and the shapes of its state and batch."""
  model = SeparatorConfig.preset(
    size, num_sources=num_sources, dtype=dtype, remat=remat
  )
  config = Config(model=model, objective=ObjectiveConfig(assignment=assignment))
  separator = Separator(model)
  optimizer = make_optimizer(config.optimizer, config.run.steps_per_epoch)
  state = jax.eval_shape(lambda: new_state(_init(separator), optimizer))
  step = jax.jit(
    make_train_step(make_loss(separator, config.objective), optimizer, config),
    donate_argnums=0,
  )
  samples = round(seconds * model.sample_rate)
  data = {
    "segments": jax.ShapeDtypeStruct((batch, 2, 2, samples), jnp.float32),
    "ratio_db": jax.ShapeDtypeStruct((batch,), jnp.float32),
    "index": jax.ShapeDtypeStruct((batch,), jnp.uint32),
  }
  return step, state, data


def train_step(size: str, num_sources: int, batch: int, **choices: Any) -> Task:
  """A pre-training step on noise; see `prepare_step`."""
  step, shapes, data = prepare_step(size, num_sources, batch=batch, **choices)
  separator = Separator(SeparatorConfig.preset(size, num_sources=num_sources))
  params = _random_params(separator)
  state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  state = state.replace(params=params)
  examples = {
    "segments": _noise(*data["segments"].shape),
    "ratio_db": jnp.zeros(batch),
    "index": jnp.arange(batch, dtype=jnp.uint32),
  }

  def run() -> None:
    nonlocal state
    state, metrics = step(state, examples)
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
  """Separation of a recording of noise, chunk by chunk."""
  config = SeparatorConfig.preset(size, num_sources=num_sources, dtype=dtype)
  separator = Separator(config)
  params = _random_params(separator)
  separate = chunk_separator(separator, params)
  rate = config.sample_rate
  mixture = np.array(_noise(2, round(seconds * rate)))

  def run() -> None:
    separate_long(separate, mixture, round(chunk * rate), round(hop * rate), batch)

  return Task(run, _device_memory)


def objective(num_sources: int, seconds: float, batch: int, assignment: Any) -> Task:
  """MixIT loss of given estimates and its gradient."""
  estimates = _noise(batch, num_sources, 2, round(seconds * RATE))
  mixtures = _noise(batch, 2, 2, round(seconds * RATE))

  def loss(estimates: jax.Array, mixtures: jax.Array) -> jax.Array:
    return jnp.mean(mixit.mixit_loss(estimates, mixtures, assignment)[0])

  return _calls(jax.jit(jax.value_and_grad(loss)), estimates, mixtures)


def assignment(num_sources: int, seconds: float, batch: int, kind: str) -> Task:
  """Assignment of given estimates to mixtures, "exact" or "efficient"."""
  estimates = _noise(batch, num_sources, 2, round(seconds * RATE))
  mixtures = _noise(batch, 2, 2, round(seconds * RATE))
  assign: dict[str, Callable] = {
    "exact": mixit.assign_exact,
    "efficient": mixit.assign_least_squares,
  }
  return _calls(jax.jit(assign[kind]), estimates, mixtures)


def matrix_product(length: int, dtype: str) -> Task:
  """Product of two square matrices."""
  a = _noise(length, length).astype(dtype)
  return _calls(jax.jit(jnp.matmul), a, a)


def _calls(function: Callable, *arguments: jax.Array) -> Task:
  return Task(lambda: jax.block_until_ready(function(*arguments)), _device_memory)


def _random_params(separator: Separator) -> Any:
  """Small random parameters, drawn one by one as a file of weights is read.

  The initializer draws all at once, which takes more memory than a separation.
  """
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: jnp.asarray(random.standard_normal(leaf.shape, np.float32) / 20),
    jax.eval_shape(lambda: _init(separator)),
  )


def _init(separator: Separator) -> Any:
  config = separator.config
  mixture = jnp.zeros((1, config.num_channels, 2 * config.n_fft))
  return separator.init(jax.random.key(0), mixture)["params"]


def _noise(*shape: int) -> jax.Array:
  return jax.random.normal(jax.random.key(0), shape) / 10


def _device_memory() -> int | None:
  return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
