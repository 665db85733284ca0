from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from training.tiny import finetune_config, pretrain_config

from mixit_jax.doctor import forecast
from mixit_jax.doctor.forecast import (
  Memory,
  TooLargeError,
  Work,
  compile_step,
  device_bytes,
  remedy,
  shortened,
)
from mixit_jax.separator.bs_locoformer import Separator
from mixit_jax.separator.costs import step_flops
from mixit_jax.training import source
from mixit_jax.training.config import MeshConfig
from mixit_jax.training.initialize import initial_state, state_layout
from mixit_jax.training.mesh import make_mesh, put_batch
from mixit_jax.training.steps import batch_layout


def mesh_of(devices, fsdp=1):
  return make_mesh(MeshConfig(fsdp=fsdp), jax.devices()[:devices])


def with_remat(remat):
  config = pretrain_config(Path(), batch=4)
  model = replace(config.model, remat=remat, num_blocks=3)
  optimizer = replace(config.optimizer, ema=0.9)
  return replace(config, model=model, optimizer=optimizer)


@pytest.fixture(scope="module")
def programs():
  """The step with each kind of remat, on one device."""
  return {r: compile_step(with_remat(r), mesh_of(1)) for r in ("block", "dots", "none")}


def test_what_is_computed_again_need_not_be_kept(programs):
  kept = {r: p.memory().temporaries for r, p in programs.items()}
  assert 0 < kept["block"] <= kept["dots"] <= kept["none"]


@pytest.mark.parametrize("devices", [1, 2])
def test_the_forecast_of_the_state_is_the_real_state_to_the_byte(devices):
  config, mesh = with_remat("block"), mesh_of(devices, fsdp=devices)
  separator = Separator(config.model)
  layout = state_layout(config, separator, mesh)
  state = initial_state(config, Path(), separator, mesh)

  def held(tree):
    """Bytes on the first device."""
    shards = [leaf.addressable_shards for leaf in jax.tree.leaves(tree)]
    return sum(s.data.nbytes for leaf in shards for s in leaf if s.device.id == 0)

  assert device_bytes(layout.params) == held(state.params)
  assert device_bytes(layout.opt_state) == held(state.opt_state)
  assert device_bytes(layout.ema) == held(state.ema) == held(state.params)


def test_the_plan_of_the_compiler_agrees_with_the_layouts(programs):
  program = programs["none"]
  plan = program.step.memory_analysis()
  unused = device_bytes(program.batch["index"])  # without dropout
  whole = device_bytes(program.state) + device_bytes(program.batch)
  assert plan.argument_size_in_bytes == whole - unused
  memory = program.memory()
  assert memory.parameters == memory.ema == device_bytes(program.state.params)
  # But for the counters of steps.
  assert memory.total - memory.temporaries == pytest.approx(whole, abs=16)
  assert memory.available is None


def test_fsdp_divides_the_state_and_the_batch():
  config = pretrain_config(Path())
  model = replace(config.model, embed_dim=64, ffn_dim=64)
  config, separator = replace(config, model=model), Separator(model)
  one, two = mesh_of(1), mesh_of(2, fsdp=2)
  whole = device_bytes(state_layout(config, separator, one))
  half = device_bytes(state_layout(config, separator, two))
  assert whole / 2 < half < 0.52 * whole  # small leaves stay whole
  assert device_bytes(batch_layout(config, one)) == 2 * device_bytes(
    batch_layout(config, two)
  )


@pytest.mark.parametrize("make", [pretrain_config, finetune_config])
def test_the_layout_of_the_batch_is_that_of_real_batches(make, music):
  config, mesh = make(music), mesh_of(8, fsdp=2)
  batches = source.train_batches(source.open_dataset(config), config, 0)
  real = put_batch(source.device_part(next(batches)), mesh)
  layout = batch_layout(config, mesh)
  assert real.keys() == layout.keys()
  for name, leaf in layout.items():
    assert (real[name].shape, real[name].dtype) == (leaf.shape, leaf.dtype)
    assert real[name].sharding == leaf.sharding
  batches.close()


def test_a_step_on_random_data_is_timed(programs):
  assert programs["block"].measure() > 0


def test_work_counts_what_the_sizes_say(programs):
  program = programs["dots"]
  config, work = program.config, program.work()
  assert work.flops == step_flops(config.model, config.example_samples, 4)
  assert (work.steps, work.devices) == (8, 1)
  assert work.compiled_flops > 0


def test_hours_follow_from_operations_and_speed():
  work = Work(steps=3600, flops=8e12, devices=4)
  assert work.flops_per_device == 2e12
  assert work.hours(1e12) == pytest.approx(2.0)


def test_memory_adds_up_and_is_compared_where_the_device_tells():
  memory = Memory(1, 2, 3, 4, 5)
  assert memory.total == 15
  assert memory.fits
  assert replace(memory, available=15).fits
  assert not replace(memory, available=14).fits


def test_a_shortened_run_is_one_short_example_for_each_device():
  config = replace(pretrain_config(Path()), mesh=MeshConfig())
  config = replace(config, data=replace(config.data, seconds=6.0))
  config = replace(config, run=replace(config.run, batch=64, accumulation=4))
  short = shortened(config, mesh_of(2))
  assert (short.run.batch, short.run.accumulation) == (2, 1)
  assert short.example_samples == config.model.sample_rate
  assert shortened(pretrain_config(Path()), mesh_of(8)).data.seconds == 0.5


@pytest.mark.parametrize(
  ("remat", "accumulation", "fsdp", "words"),
  [
    ("none", 1, 1, ["run.accumulation=2 ", "model.remat=block", "mesh.fsdp=2"]),
    ("block", 2, 1, ["run.accumulation=4 ", "mesh.fsdp=2", "smaller run.batch"]),
    ("block", 4, 2, ["more devices"]),
  ],
)
def test_the_remedy_names_what_is_not_done_yet(remat, accumulation, fsdp, words):
  config = with_remat(remat)
  run = replace(config.run, batch=8, accumulation=accumulation)
  text = remedy(replace(config, run=run), mesh_of(2, fsdp))
  assert [word in text for word in words] == [True] * len(words)
  assert ("remat" in text) == (remat != "block")
  assert ("fsdp" in text) == (fsdp < 2)


def test_memory_that_runs_out_is_one_line_with_the_remedy(programs, monkeypatch):
  def step(state, batch):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating")

  monkeypatch.setattr(forecast, "initial_state", lambda *_: None)
  program = replace(programs["block"], step=step)
  with pytest.raises(TooLargeError, match=r"try run\.accumulation=2") as error:
    program.measure()
  assert "\n" not in str(error.value)


def test_other_errors_of_the_device_stay_what_they_are(monkeypatch):
  def fail(*_):
    raise jax.errors.JaxRuntimeError("INTERNAL: no luck")

  monkeypatch.setattr(forecast, "jit_train_step", fail)
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    compile_step(with_remat("none"), mesh_of(1))


def test_the_smallest_device_decides_what_is_available():
  def mesh(*limits):
    stats = [{"bytes_limit": limit} if limit else None for limit in limits]
    devices = [SimpleNamespace(memory_stats=lambda s=s: s) for s in stats]
    return SimpleNamespace(local_devices=np.array(devices))

  assert forecast._available(mesh(7, 5)) == 5
  assert forecast._available(mesh(None)) is None
