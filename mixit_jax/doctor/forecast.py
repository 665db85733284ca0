"""What a run needs: memory of each device, operations and hours, before it begins."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from mixit_jax.audio.pcm import PCM_SCALE
from mixit_jax.devices import memory
from mixit_jax.devices.platforms import platform_of
from mixit_jax.devices.targets import Target
from mixit_jax.errors import UserError
from mixit_jax.separator.costs import step_flops
from mixit_jax.training.config import Config
from mixit_jax.training.fitting import memory_errors
from mixit_jax.training.initialize import initial_state, state_layout
from mixit_jax.training.objectives import Batch, Objective, make_objective
from mixit_jax.training.state import TrainState
from mixit_jax.training.step import jit_train_step

# Steps before those that are timed, and these.
_WARM_UP, _TIMED = 2, 5
_SHORT_SECONDS = 1.0


@dataclass(frozen=True)
class Memory:
  """Bytes that a training step needs on each device.

  Attributes:
    parameters: of the separator, this device's part.
    optimizer: state of the optimizer.
    ema: running mean of the parameters; 0 when the run keeps none.
    batch: examples of a step.
    temporaries: activations, gradients and whatever else lives during a step.
    available: what the device offers, or None where it does not say.
  """

  parameters: int
  optimizer: int
  ema: int
  batch: int
  temporaries: int
  available: int | None = None

  @property
  def total(self) -> int:
    """Bytes in all."""
    return self.parameters + self.optimizer + self.ema + self.batch + self.temporaries

  @property
  def fits(self) -> bool:
    """Whether the device offers as much; true where it does not say."""
    return self.available is None or self.total <= self.available


@dataclass(frozen=True)
class Work:
  """Operations of a run.

  Attributes:
    steps: of the whole run.
    flops: of a step over all devices, counted from the sizes of the model.
    devices: number of them.
    compiled_flops: of a step on each device as XLA counts them, or None; it counts
      the body of a loop once, however often it runs.
  """

  steps: int
  flops: float
  devices: int
  compiled_flops: float | None = None

  @property
  def flops_per_device(self) -> float:
    """Operations of a step on each device."""
    return self.flops / self.devices

  def hours(self, speed: float) -> float:
    """Return the hours of the run at a speed of each device in operations a second."""
    return self.steps * self.flops_per_device / speed / 3600


@dataclass(frozen=True)
class Program:
  """The training step of a run, compiled, nothing allocated.

  Attributes:
    objective: of the run.
    mesh: devices.
    state: layout of the state.
    batch: layout of the batch.
    step: the executable.
    available: bytes that it may use on each device, or None where that is not known.
  """

  objective: Objective
  mesh: Mesh
  state: TrainState
  batch: Batch
  step: jax.stages.Compiled
  available: int | None

  @property
  def config(self) -> Config:
    """Configuration of the run."""
    return self.objective.config

  def memory(self) -> Memory:
    """Read the memory of each device off XLA's plan and the layouts.

    Raises:
      UserError: this kind of device has no such plan.
    """
    plan = self.step.memory_analysis()
    if plan is None:
      raise UserError("XLA does not tell the memory of programs on this device")
    held = memory.device_bytes(self.state) + memory.device_bytes(self.batch)
    # Not all temporaries live at the same time; on CPUs XLA's peak leaves some out.
    temporaries = plan.peak_memory_in_bytes - held
    if platform_of(self.mesh) == "cpu":
      temporaries = (
        plan.temp_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
      )
    return Memory(
      parameters=memory.device_bytes(self.state.params),
      optimizer=memory.device_bytes(self.state.opt_state),
      ema=memory.device_bytes(self.state.ema),
      batch=memory.device_bytes(self.batch),
      temporaries=max(0, temporaries) + plan.generated_code_size_in_bytes,
      available=self.available,
    )

  def work(self) -> Work:
    """Count the operations of the run."""
    config, counted = self.config, self.step.cost_analysis() or {}
    return Work(
      steps=config.run.steps,
      flops=step_flops(
        config.model, config.example_samples, config.run.batch, config.frozen
      ),
      devices=self.mesh.devices.size,
      compiled_flops=counted.get("flops"),
    )

  def random_batch(self) -> Batch:
    """Draw noise for audio; ones for gains, level ratios and positions."""

    def fill(number: int, leaf: Any) -> jax.Array:
      if leaf.dtype != jax.numpy.int16:
        return jax.numpy.ones(leaf.shape, leaf.dtype)
      noise = 0.1 * PCM_SCALE * jax.random.normal(jax.random.key(number), leaf.shape)
      return noise.astype(leaf.dtype)

    def draw() -> Batch:
      return type(self.batch)(*(fill(n, leaf) for n, leaf in enumerate(self.batch)))

    shardings = jax.tree.map(lambda leaf: leaf.sharding, self.batch)
    return jax.jit(draw, out_shardings=shardings)()

  def measure(self) -> float:
    """Measure the seconds of a step on random data.

    Raises:
      TooLargeError: the devices have too little memory.
    """
    # Weights to start from take no more room than random ones.
    config = replace(self.config, init=replace(self.config.init, run=""))
    with memory_errors(self.config, self.mesh):
      state = initial_state(make_objective(config, self.mesh), Path(), self.mesh)
      batch = self.random_batch()
      on_cpu = platform_of(self.mesh) == "cpu"
      warm_up, timed = (1, 1) if on_cpu else (_WARM_UP, _TIMED)
      for _ in range(warm_up):
        state, metrics = self.step(state, batch)
      jax.block_until_ready(metrics)
      begun = time.perf_counter()
      for _ in range(timed):
        state, metrics = self.step(state, batch)
      jax.block_until_ready(metrics)
      return (time.perf_counter() - begun) / timed


def compile_step(
  objective: Objective, mesh: Mesh, target: Target | None = None
) -> Program:
  """Compile the step that a run would take, from shapes alone.

  Args:
    objective: of the run.
    mesh: devices.
    target: what describes them where they are not here.

  Raises:
    TooLargeError: the compiler finds no room in the memory of the devices.
  """
  state = state_layout(objective.config, mesh)
  batch = objective.batch_layout(mesh)
  with memory_errors(objective.config, mesh):
    lowered = jit_train_step(objective, mesh, state).lower(state, batch)
    step = target.compile(lowered) if target else lowered.compile()
  available = target.memory if target else memory.offered(mesh.local_devices)
  return Program(objective, mesh, state, batch, step, available)


def shortened(config: Config, mesh: Mesh) -> Config:
  """Shorten a run to steps of seconds on a CPU: one short example for each device."""
  shortest = 2 * config.model.n_fft / config.model.sample_rate
  seconds = min(config.data.seconds, max(_SHORT_SECONDS, shortest))
  return replace(
    config,
    data=replace(config.data, seconds=seconds),
    run=replace(config.run, batch=mesh.devices.size, accumulation=1),
  )
