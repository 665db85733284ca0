"""Every program of the package, compiled for TPUs by XLA's own compiler.

The pod that `make test` compiles for stands at the top; the others belong to
`make test-compile`.
"""

import time
from collections import Counter

import pytest

from compiling import programs
from configs import finetune, pretrain
from mixit_jax.devices import memory
from mixit_jax.doctor.collectives import collectives

# Share of the devices' memory that must be left.
MARGIN = 0.05
# Seconds at XLA's level O0 on two cores.
COMPILED_WITHIN = 300


def check_step(config, name, fsdp=1):
  """Compile a training step for devices, and look at what came out."""
  target = programs.target_or_skip(name)
  objective, mesh = programs.settled(config, target, fsdp=fsdp)
  lowered = programs.train_step(objective, mesh)

  # Nearly all is computed in bfloat16: not the composition of two small layers, nor the
  # objective.
  operations = programs.product_operations(lowered)
  assert operations["bf16"] > 0.9 * sum(operations.values())

  begun = time.monotonic()
  step = programs.compiled(lowered, target)
  assert time.monotonic() - begun < COMPILED_WITHIN
  plan = step.memory_analysis()
  assert plan.peak_memory_in_bytes < (1 - MARGIN) * target.memory

  # Gradients are summed in float32, and nothing but them and parameters travels.
  trainable = objective.config.frozen
  layout = programs.state_layout(objective.config, mesh).params
  sizes = {name: memory.whole_bytes(part) for name, part in layout.items()}
  gradients = sum(size for name, size in sizes.items() if name not in trainable)
  found = list(collectives(step.as_text()))
  kinds = Counter(collective.kind for collective in found)
  scalars = 2**16
  summed = sum(c.bytes for c in found if c.kind == "all-reduce")
  if fsdp == 1:  # on one chip they are there, but have nobody to talk to
    assert set(kinds) == {"all-reduce"}
    assert gradients <= summed < gradients + scalars
  else:
    gathered = sum(c.bytes for c in found if c.kind == "all-gather")
    assert gathered <= sum(sizes.values())
    assert "all-to-all" not in kinds
  for collective in found:
    if collective.kind in ("all-reduce", "reduce-scatter"):
      assert {array.type for array in collective.arrays} <= {"f32", "s32"}
  return step


def test_a_pod_trains():
  check_step(pretrain.get_config("small"), "v5e:2x2")


@pytest.mark.compile
@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("name", ["v5e:4x4", "v5e:8", "v6e:8"])
@pytest.mark.parametrize("stage", [pretrain, finetune])
def test_the_shipped_configurations_train_on_hosts_and_pods(stage, name, size):
  check_step(stage.get_config(size), name)


@pytest.mark.compile
@pytest.mark.parametrize("size", ["small", "medium"])
def test_they_train_on_one_small_chip(size):
  check_step(pretrain.get_config(size), "v5e:1")


@pytest.mark.compile
@pytest.mark.parametrize("name", ["v4:8", "v5p:8", "tpu7x:4"])
def test_other_generations_train(name):
  check_step(pretrain.get_config("medium"), name)


@pytest.mark.compile
def test_parameters_can_be_divided():
  check_step(pretrain.get_config("medium"), "v5e:4x4", fsdp=16)


@pytest.mark.compile
def test_a_frozen_separator_is_fine_tuned():
  config = finetune.get_config("medium").changed(init={"freeze": "blocks"})
  check_step(config, "v5e:4x4")


@pytest.mark.compile
@pytest.mark.parametrize("stage", [pretrain, finetune])
def test_validation(stage):
  """Every host validates on its own chips, here four."""
  target = programs.target_or_skip("v5e:2x2")
  config = stage.get_config("medium").changed(run={"batch": 16})
  objective, mesh = programs.settled(config, target)
  step = programs.compiled(programs.valid_step(objective, mesh), target)
  assert step.memory_analysis().peak_memory_in_bytes < (1 - MARGIN) * target.memory
  found = list(collectives(step.as_text()))
  assert {collective.kind for collective in found} == {"all-reduce"}
  assert sum(collective.bytes for collective in found) < 4096


@pytest.mark.compile
@pytest.mark.parametrize("size", ["small", "large"])
def test_separation(size):
  target = programs.target_or_skip("v5e:2x2")
  config = finetune.get_config(size).changed(run={"batch": 16})
  objective, mesh = programs.settled(config, target)
  program = programs.separation(objective.model, mesh, seconds=12.0, chunks=2)
  step = programs.compiled(program, target)
  assert step.memory_analysis().peak_memory_in_bytes < (1 - MARGIN) * target.memory
  assert not list(collectives(step.as_text()))
