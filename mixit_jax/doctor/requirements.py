"""What will this run need? Compiles its step and prints memory, operations, hours."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from jax.sharding import Mesh

from mixit_jax.devices.mesh import check_batch, make_mesh
from mixit_jax.devices.peaks import link_bandwidth, peak_flops
from mixit_jax.devices.platforms import platform_of
from mixit_jax.devices.targets import Target
from mixit_jax.doctor.checks import Check
from mixit_jax.doctor.collectives import collectives, seconds
from mixit_jax.doctor.forecast import Program, compile_step, shortened
from mixit_jax.training.config import Config
from mixit_jax.training.fitting import TooLargeError, fit, fit_to_devices, remedy
from mixit_jax.training.initialize import check_start
from mixit_jax.training.objectives import Objective, make_objective


class Speed(NamedTuple):
  """How fast a device is taken to be.

  Attributes:
    utilization: share of the peak that a run is assumed to reach.
    peak: operations per second of a device; None takes what is known of its kind.
  """

  utilization: float = 0.45
  peak: float | None = None


def requirements(
  config: Config, speed: Speed, target: Target | None = None
) -> Iterator[Check]:
  """Yield the checks of a run, one after the other; no data is read.

  Args:
    config: of the run.
    speed: what a device is taken to reach.
    target: devices to compile for; None takes those of this machine.

  Raises:
    UserError: the configuration cannot run on these devices.
  """
  mesh = make_mesh(config.mesh.fsdp, target.devices if target else None)
  check_batch(config.run.batch, config.run.parts, mesh)
  settled = fit(config, mesh, target.memory) if target else fit_to_devices(config, mesh)
  objective = make_objective(settled, mesh)
  check_start(objective)
  return _checks(objective, mesh, speed, target)


def _checks(
  objective: Objective, mesh: Mesh, speed: Speed, target: Target | None
) -> Iterator[Check]:
  programs: list[Program] = []  # those that compile
  fitting: list[Program] = []

  def compiles() -> str:
    programs.append(compile_step(objective, mesh, target))
    return _describe(objective, mesh)

  def fits() -> str:
    line = _memory_line(program)
    fitting.append(program)
    return line

  yield Check("step compiles", compiles)
  if not programs:
    return
  program = programs[0]
  peak = speed.peak or peak_flops(mesh.devices.flat[0], objective.model.dtype)
  yield Check("memory of each device", fits)
  yield Check("operations", lambda: _operations_line(program))
  if mesh.devices.size > 1:
    yield Check("collectives", lambda: _collectives_line(program))
  yield Check("hours, assumed", lambda: _assumed_line(program, speed, peak))
  if fitting and not target:
    yield Check("hours, measured", lambda: _measured_line(program, peak))


def _describe(objective: Objective, mesh: Mesh) -> str:
  config, model = objective.config, objective.model
  run, shape = config.run, mesh.shape
  return (
    f"{run.steps} steps of {run.batch} examples of {config.data.seconds:g} s on "
    f"{mesh.devices.size} x {mesh.devices.flat[0].device_kind} "
    f"({shape['data']}x{shape['fsdp']}), accumulation {run.accumulation}, "
    f"remat {model.remat}, {model.dtype}"
  )


def _memory_line(program: Program) -> str:
  memory = program.memory()
  parts = {
    "parameters": memory.parameters,
    "optimizer": memory.optimizer,
    "running mean": memory.ema,
    "batch": memory.batch,
    "activations and temporaries": memory.temporaries,
  }
  listed = ", ".join(f"{name} {_size(size)}" for name, size in parts.items() if size)
  if memory.available is None:
    return f"{_size(memory.total)}: {listed}; the device does not say what it has"
  line = f"{_size(memory.total)} of {_size(memory.available)}: {listed}"
  if not memory.fits:
    hint = remedy(program.config, program.mesh)
    raise TooLargeError(f"{line}; does not fit, try {hint}")
  return line


def _operations_line(program: Program) -> str:
  work = program.work()
  line = f"{_scaled(work.flops_per_device)}FLOP a step and device"
  if work.compiled_flops:
    line += (
      f" (XLA counts {_scaled(work.compiled_flops)}FLOP: the body of a loop once, "
      "custom kernels not at all)"
    )
  return line


def _collectives_line(program: Program) -> str:
  """Tell what devices send each other in a step, and how long that takes at least."""
  found = list(collectives(program.step.as_text() or ""))
  kinds = Counter(collective.kind for collective in found)
  line = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
  line += f" of {_size(sum(collective.bytes for collective in found))} a step"
  bandwidth = link_bandwidth(program.mesh.devices.flat[0])
  if bandwidth is None:
    return line
  needed = 1000 * seconds(found, program.mesh.devices.size, bandwidth)
  return f"{line}, {needed:.2g} ms at {bandwidth / 1e9:.0f} GB/s"


def _assumed_line(program: Program, speed: Speed, peak: float | None) -> str:
  if peak is None:
    kind = program.mesh.devices.flat[0].device_kind
    return f"the peak of a {kind} is not known, --peak-tflops tells it"
  hours = program.work().hours(speed.utilization * peak)
  return f"{_hours(hours)} at {speed.utilization:.0%} of {_scaled(peak)}FLOP/s"


def _measured_line(program: Program, peak: float | None) -> str:
  measured, note = program, ""
  if platform_of(program.mesh) == "cpu":
    config = shortened(program.config, program.mesh)
    measured = compile_step(make_objective(config, program.mesh), program.mesh)
    note = (
      f", measured on one example of {config.data.seconds:g} s for each device, since "
      "whole steps take a CPU long"
    )
  seconds = measured.measure()
  flops = measured.work().flops_per_device / seconds
  share = f", {100 * flops / peak:.2g}% of the peak" if peak else ""
  hours = program.work().hours(flops)
  return (
    f"{_hours(hours)} at {_scaled(flops)}FLOP/s{share}; {seconds:.3g} s a step{note}"
  )


def _size(count: int) -> str:
  """Write bytes for people."""
  for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
    if count >= unit:
      return f"{count / unit:.1f} {name}"
  return f"{count / 2**10:.1f} KiB"


def _scaled(count: float) -> str:
  """Write a count with the prefix of its unit."""
  for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
    if count >= unit:
      return f"{count / unit:.3g} {name}"
  return f"{count:.3g} "


def _hours(hours: float) -> str:
  if hours < 1:
    return f"{60 * hours:.1f} min"
  return f"{hours:.1f} h" if hours < 1000 else f"{hours:,.0f} h"
