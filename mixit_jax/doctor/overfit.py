"""A very small separator learns one batch: the whole training step at work."""

from functools import cache
from typing import Literal

import jax
import numpy as np

from mixit_jax.devices.mesh import local_mesh
from mixit_jax.errors import UserError
from mixit_jax.separator import init
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.training.config import (
  Config,
  DataConfig,
  ObjectiveConfig,
  OptimizerConfig,
  RunConfig,
)
from mixit_jax.training.objectives import Batch, Objective, make_objective
from mixit_jax.training.optimizer import make_optimizer
from mixit_jax.training.state import Params, new_state
from mixit_jax.training.step import make_train_step

STEPS = 40
# On a CPU the losses of ten seeds fell by 18.8 dB or more.
LEAST_DB = 6.0

_RATE = 8000
_MODEL = SeparatorConfig(
  num_blocks=1,
  embed_dim=16,
  ffn_dim=16,
  kernel_size=4,
  num_heads=2,
  num_groups=2,
  sample_rate=_RATE,
  n_fft=256,
  hop=64,
  bands=(16,) * 7 + (17,),
  dtype="auto",
)


def overfit(kind: Literal["mixit", "stems"]) -> str:
  """Train on one batch, on one device in its default precision.

  Args:
    kind: the objective.

  Returns:
    What was reached.

  Raises:
    UserError: steps were not finite, or the loss did not fall by `LEAST_DB`.
  """
  mesh = local_mesh(1)
  objective = make_objective(_config(kind), mesh)
  config = objective.config
  optimizer = make_optimizer(config.optimizer, config.run.steps_per_epoch)
  step = jax.jit(
    make_train_step(objective.loss, optimizer, config, mesh), donate_argnums=0
  )
  state = jax.jit(lambda params: new_state(params, optimizer))(_params())
  batch, losses = _batch(objective), []
  for _ in range(STEPS):
    state, metrics = step(state, batch)
    losses.append(metrics["loss"])
  first, last = float(losses[0]), float(losses[-1])
  device = f"{jax.devices()[0].platform} in {objective.model.dtype}"
  remedy = (
    "the device or its libraries compute wrongly: update the driver and jaxlib, and "
    "compare with JAX_PLATFORMS=cpu"
  )
  if skipped := int(state.skipped):
    raise UserError(f"{skipped} of {STEPS} steps on {device} were not finite; {remedy}")
  if not first - last >= LEAST_DB:
    raise UserError(
      f"from {first:.1f} to {last:.1f} dB in {STEPS} steps on {device}, expected a "
      f"fall by {LEAST_DB:g} dB; {remedy}"
    )
  return (
    f"loss from {first:.1f} to {last:.1f} dB in {STEPS} steps on {device} (at least "
    f"{LEAST_DB:g} dB are asked for)"
  )


@cache
def _params() -> Params:
  """Draw parameters once for both objectives: drawing takes long to compile."""
  return jax.device_get(jax.jit(lambda: init(_MODEL, jax.random.key(0)))())


def _config(kind: Literal["mixit", "stems"]) -> Config:
  return Config(
    model=_MODEL,
    objective=ObjectiveConfig(kind=kind),
    data=DataConfig(seconds=4096 / _RATE),
    optimizer=OptimizerConfig(peak_rate=5e-3, warmup_steps=10),
    run=RunConfig(steps=STEPS, batch=2),
  )


def _batch(objective: Objective) -> Batch:
  """Make two examples of four fading tones each."""
  config = objective.config
  count, size = config.model.num_sources, config.run.batch
  time = np.arange(config.example_samples) / _RATE
  example, source = np.ogrid[:size, :count]
  pitch = 110.0 * (source + 1) * (1 + 0.1 * example)
  pitch, beat = pitch[..., None], (source + 2)[..., None] * time % 1
  left = 0.1 * np.sin(2 * np.pi * pitch * time) * (0.2 + np.exp(-4 * beat))
  right = np.linspace(0.5, 1.0, count)[:, None] * left
  audio = np.stack([left, right], axis=2).astype(np.float32)  # [B, N, C, L]
  halves = audio.reshape(size, 2, count // 2, *audio.shape[2:])
  examples = {
    "index": np.arange(size),
    "references": audio,
    "gains": np.ones((size, count), np.float32),
    "segments": halves.sum(axis=2),
    "ratio_db": np.zeros(size, np.float32),
  }
  return objective.batch(examples)
