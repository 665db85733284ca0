"""Contests on the devices of this machine, for `python -m benchmarks.accelerator`.

They measure the shipped configurations through the functions that a run uses. Each
returns {"rows": [...]}, one row for each contestant. Parts of the model take turns;
whole steps do not fit beside each other and run one by one. With `tiny`, any machine
computes them in seconds, and the figures mean nothing.
"""

import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks import ours
from benchmarks.input_pipeline import write_records
from benchmarks.shipped import TINY, shipped, shortened
from mixit_jax.devices import memory
from mixit_jax.devices.mesh import make_mesh, put_batch
from mixit_jax.devices.peaks import peak_flops
from mixit_jax.devices.platforms import platform_of
from mixit_jax.doctor.forecast import Program, compile_step
from mixit_jax.doctor.requirements import Speed
from mixit_jax.separator.bs_locoformer import ConvSwiGLU, SelfAttention
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.costs import forward_flops
from mixit_jax.separator.waveform import num_frames
from mixit_jax.training.fitting import fit_to_devices
from mixit_jax.training.loop import train
from mixit_jax.training.objectives import make_objective
from mixit_jax.training.telemetry import METRICS_FILE

Rows = dict[str, list[dict[str, Any]]]

# Seconds to measure for, of a whole step and of one turn of a part; turns.
_STEPS_FOR, _TURN_FOR, _TURNS = 5.0, 0.2, 5
_FEWEST_STEPS, _MOST_STEPS = 3, 20
# Examples for which a part of the model is measured.
_EXAMPLES = 8


def products(tiny: bool = False) -> Rows:
  """Multiply large square matrices: what nothing can exceed."""
  length = 256 if tiny else 8192
  tasks = {
    dtype: ours.matrix_product(length, dtype).run for dtype in ("bfloat16", "float32")
  }
  rows = _in_turns(tasks)
  for row, dtype in zip(rows, tasks, strict=True):
    peak = peak_flops(jax.devices()[0], dtype)
    row |= _speed(2 * length**3 / row["median_seconds"], peak)
  return {"rows": rows}


def step(stage: str, size: str, tiny: bool = False, **model: Any) -> Rows:
  """Take training steps as shipped, with other choices of the model where asked."""
  config = shipped(stage, size)
  config = (shortened(config) if tiny else config).changed(model=model)
  mesh = make_mesh()
  settled = fit_to_devices(config, mesh)
  before = memory.peak(mesh.local_devices)
  begun = time.perf_counter()
  program = compile_step(make_objective(settled, mesh), mesh)
  row = _description(program) | {
    "compile_seconds": round(time.perf_counter() - begun, 1),
    "planned_gib": _gib(program.memory().total),
  }
  task = ours.steps(program)
  task.run()
  times: list[float] = []
  end = time.perf_counter() + _STEPS_FOR
  while len(times) < _FEWEST_STEPS or (
    time.perf_counter() < end and len(times) < _MOST_STEPS
  ):
    times.append(_seconds(task.run))
  used = memory.peak(mesh.local_devices)
  if used > before:  # a peak that an earlier case left says nothing of this one
    row["used_gib"] = _gib(used)
  return {"rows": [row | _statistics(times) | _pace(program, statistics.median(times))]}


def separation(size: str, tiny: bool = False) -> Rows:
  """Separate a song of four minutes on one device, chunk by chunk."""
  model = shipped("finetune", size).model
  song, chunk, hop, batch = 240.0, 12.0, 6.0, 8
  if tiny:
    model, song, chunk = dataclasses.replace(model, **TINY), 6.0, 3.0
    hop, batch = chunk, 1
  task = ours.separating(model, song, chunk, hop, batch)
  prepare = _seconds(task.run)
  times = [_seconds(task.run) for _ in range(3)]
  seconds = statistics.median(times)
  chunks = 1 + round((song - chunk) / hop)
  flops = forward_flops(model, round(chunk * model.sample_rate), chunks)
  row = {
    "size": size,
    "chunks_at_once": batch,
    "prepare_seconds": round(prepare, 1),
    **_statistics(times),
    "times_realtime": round(song / seconds, 1),
    **_speed(sum(flops.values()) / seconds, peak_flops(jax.devices()[0])),
  }
  return {"rows": [row]}


def attention(size: str, tiny: bool = False) -> Rows:
  """Attend along frequency and time, by every kernel that this platform has."""
  fused = {"gpu": ["cudnn"], "tpu": ["pallas"]}.get(platform_of(make_mesh()), [])
  kernels = {kernel: {"attention": kernel} for kernel in [*fused, "xla"]}
  return _layers(SelfAttention, size, kernels, tiny)


def convolution(size: str, tiny: bool = False) -> Rows:
  """Compute a feed-forward layer along both paths, in every form of convolution."""
  forms = ("convolution", "taps", "columns")
  choices = {form: {"convolution": form} for form in forms}
  return _layers(ConvSwiGLU, size, choices, tiny)


def objective(size: str, tiny: bool = False) -> Rows:
  """Compute the MixIT loss of given estimates and its gradient."""
  config = shipped("pretrain", size)
  config = shortened(config) if tiny else config
  tasks = {
    assignment: ours.objective(
      config.model.num_sources, config.data.seconds, config.run.batch, assignment
    ).run
    for assignment in ("efficient", "exact")
  }
  return {"rows": _in_turns(tasks)}


def transfer(size: str, tiny: bool = False) -> Rows:
  """Put a batch of samples on the devices, as they travel and as float32."""
  config = shipped("pretrain", size)
  config = shortened(config) if tiny else config
  mesh = make_mesh()
  shape = (config.run.batch, 2, config.model.num_channels, config.example_samples)
  batches = {dtype: np.ones(shape, dtype) for dtype in ("int16", "float32")}
  rows = _in_turns(
    {dtype: partial(_put, batch, mesh) for dtype, batch in batches.items()}
  )
  for row in rows:
    size_in_bytes = batches[row["name"]].nbytes
    row["gb_per_second"] = round(size_in_bytes / row["median_seconds"] / 1e9, 2)
  return {"rows": rows}


def inputs(size: str, tiny: bool = False) -> Rows:
  """Train from shards as users do: how long do the devices wait for batches?

  The records are pink noise, the worst case for a codec.
  """
  config = shipped("pretrain", size)
  config = shortened(config) if tiny else config
  every = 2 if tiny else 10
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    shards = Path(folder) / "data"
    write_records(shards, 8 if tiny else 64, 2.0 if tiny else 10.0)
    for threads in sorted({config.data.threads, os.cpu_count() or 1}):
      run = Path(folder) / f"{threads}"
      train(
        config.changed(
          data={
            "shards": str(shards),
            "threads": threads,
            "buffer": max(threads, config.data.buffer),
          },
          run={"steps": 3 * every, "log_every": every},
          valid={"examples": config.run.batch, "media": 0},
          mesh={"distributed": "off"},
        ),
        run,
      )
      lines = map(json.loads, (run / METRICS_FILE).read_text().splitlines())
      last = [line for line in lines if line["group"] == "train"][-1]
      rows.append(
        {"size": size, "threads": threads}
        | {
          name: round(last[name], 4)
          for name in ("seconds_per_step", "share_waiting_for_data")
        }
      )
  return {"rows": rows}


def _put(batch: np.ndarray, mesh: Mesh) -> None:
  jax.block_until_ready(put_batch(batch, mesh))


def _layers(
  layer: Callable[[SeparatorConfig], Any],
  size: str,
  choices: Mapping[str, Mapping[str, Any]],
  tiny: bool,
) -> Rows:
  """Let variants of a layer take turns, forward and backward, along both paths."""
  config = shipped("pretrain", size)
  config = shortened(config) if tiny else config
  model = config.model.settled(platform_of(make_mesh()), training=True)
  bands = len(model.bands)
  frames = num_frames(config.example_samples, model.n_fft, model.hop)
  examples = 1 if tiny else _EXAMPLES
  paths = {"frequency": (frames, bands), "time": (bands, frames)}
  rows = []
  for path, shape in paths.items():
    x = jax.random.normal(jax.random.key(0), (examples, *shape, model.embed_dim))
    x = x.astype(model.dtype)
    tasks = {
      f"{path}, {name}": _gradients(
        layer(dataclasses.replace(model, dropout=0.0, **choice)), x
      )
      for name, choice in choices.items()
    }
    rows += _in_turns(tasks)
  return {"rows": rows}


def _gradients(layer: Any, x: jax.Array) -> Callable[[], None]:
  """Compile the gradients of a layer; return what computes them."""
  params = layer.init(jax.random.key(0), x[:1, :1], None, 0)

  @jax.jit
  def compute(params: Any, x: jax.Array) -> Any:
    y, pull = jax.vjp(lambda p, x: layer.apply(p, x, None, 0), params, x)
    return y, pull(y)

  program = compute.lower(params, x).compile()
  return lambda: jax.block_until_ready(program(params, x))


def _in_turns(tasks: Mapping[str, Callable[[], Any]]) -> list[dict[str, Any]]:
  """Time tasks in turns, each as often in a turn as takes its time."""
  times: dict[str, list[float]] = {name: [] for name in tasks}
  counts: dict[str, int] = {}
  for name, run in tasks.items():
    run()
    counts[name] = max(1, round(_TURN_FOR / _seconds(run)))
  for _ in range(_TURNS):
    for name, run in tasks.items():
      times[name].append(_seconds(run, counts[name]))
  return [{"name": name, **_statistics(each)} for name, each in times.items()]


def _seconds(run: Callable[[], Any], count: int = 1) -> float:
  """Return the mean seconds of some calls."""
  begun = time.perf_counter()
  for _ in range(count):
    run()
  return (time.perf_counter() - begun) / count


def _statistics(times: list[float]) -> dict[str, Any]:
  median = statistics.median(times)
  return {
    "median_seconds": round(median, 6),
    "spread": round((max(times) - min(times)) / median, 3),
    "runs": len(times),
  }


def _description(program: Program) -> dict[str, Any]:
  """Say how a step is computed."""
  config, model = program.config, program.objective.model
  kind = program.mesh.devices.flat[0].device_kind
  return {
    "devices": f"{program.mesh.devices.size} x {kind}",
    "batch": config.run.batch,
    "accumulation": config.run.accumulation,
    **{
      key: getattr(model, key)
      for key in ("remat", "scan_blocks", "attention", "convolution", "dtype")
    },
  }


def _pace(program: Program, seconds: float) -> dict[str, Any]:
  """Say what a time per step means for a run, beside what is forecast."""
  config, work = program.config, program.work()
  epoch = config.run.steps_per_epoch / 3600
  peak = peak_flops(program.mesh.devices.flat[0])
  pace = {
    "steps_per_second": round(1 / seconds, 3),
    **_speed(work.flops_per_device / seconds, peak),
    "epoch_hours": round(epoch * seconds, 4),
    "run_hours": round(work.steps * seconds / 3600, 2),
  }
  if peak:
    forecast = work.hours(Speed().utilization * peak)
    pace["forecast_run_hours"] = round(forecast, 2)
    pace["forecast_epoch_hours"] = round(
      forecast * config.run.steps_per_epoch / work.steps, 4
    )
  return pace


def _speed(flops: float, peak: float | None) -> dict[str, float]:
  """Give operations per second of a device, and their share of its data sheet's."""
  speed = {"tflops": round(flops / 1e12, 3)}
  return speed | ({"share_of_peak": round(flops / peak, 4)} if peak else {})


def _gib(count: int) -> float:
  return round(count / 2**30, 2)
