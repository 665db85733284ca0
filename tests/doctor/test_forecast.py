from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from training.tiny import finetune_config, pretrain_config

from mixit_jax.devices.memory import device_bytes
from mixit_jax.devices.mesh import make_mesh, put_batch
from mixit_jax.doctor import forecast
from mixit_jax.doctor.forecast import Memory, Work, compile_step, shortened
from mixit_jax.separator.costs import step_flops
from mixit_jax.training.config import MeshConfig
from mixit_jax.training.dataset import settle_data
from mixit_jax.training.fitting import TooLargeError, remedy
from mixit_jax.training.initialize import initial_state, state_layout
from mixit_jax.training.objectives import make_objective


def mesh_of(devices, fsdp=1):
  return make_mesh(fsdp, jax.devices()[:devices])


def compiled(config, mesh):
  return compile_step(make_objective(config, mesh), mesh)


def with_remat(remat):
  config = pretrain_config(Path(), batch=4)
  model = replace(config.model, remat=remat, num_blocks=3)
  optimizer = replace(config.optimizer, ema=0.9)
  return replace(config, model=model, optimizer=optimizer)


@pytest.fixture(scope="module")
def programs():
  """The step with each kind of remat, on one device."""
  return {r: compiled(with_remat(r), mesh_of(1)) for r in ("block", "dots", "none")}


def test_what_is_computed_again_need_not_be_kept(programs):
  kept = {r: p.memory().temporaries for r, p in programs.items()}
  assert 0 < kept["block"] <= kept["dots"] <= kept["none"]


@pytest.mark.parametrize("devices", [1, 2])
def test_the_forecast_of_the_state_is_the_real_state_to_the_byte(devices):
  config, mesh = with_remat("block"), mesh_of(devices, fsdp=devices)
  layout = state_layout(config, mesh)
  state = initial_state(make_objective(config, mesh), Path(), mesh)

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
  unused = device_bytes(program.batch.positions)  # without dropout
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
  config = replace(config, model=model)
  one, two = mesh_of(1), mesh_of(2, fsdp=2)
  whole = device_bytes(state_layout(config, one))
  half = device_bytes(state_layout(config, two))
  assert whole / 2 < half < 0.52 * whole  # small leaves stay whole
  examples = [
    device_bytes(make_objective(config, mesh).batch_layout(mesh)) for mesh in (one, two)
  ]
  assert examples[0] == 2 * examples[1]


@pytest.mark.parametrize("make", [pretrain_config, finetune_config])
def test_the_layout_of_the_batch_is_that_of_real_batches(make, music):
  config, mesh = settle_data(make(music)), mesh_of(8, fsdp=2)
  objective = make_objective(config, mesh)
  with closing(objective.host_batches(objective.examples(), 0)) as batches:
    real = put_batch(objective.batch(next(batches)), mesh)
  layout = objective.batch_layout(mesh)
  assert type(real) is type(layout)
  for found, leaf in zip(real, layout, strict=True):
    assert (found.shape, found.dtype) == (leaf.shape, leaf.dtype)
    assert found.sharding == leaf.sharding


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
    compiled(with_remat("none"), mesh_of(1))
