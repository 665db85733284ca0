"""Every program of the package, compiled for TPUs by XLA's own compiler.

The pod that `make test` compiles for stands at the top; the others belong to
`make test-compile`.
"""

import pytest

from compiling import programs
from configs import finetune, pretrain
from mixit_jax.doctor.collectives import collectives


def test_a_pod_trains():
  programs.check_step(pretrain.get_config("small"), "v5e:2x2")


@pytest.mark.compile
@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("name", ["v5e:4x4", "v5e:8", "v6e:8"])
@pytest.mark.parametrize("stage", [pretrain, finetune])
def test_the_shipped_configurations_train_on_hosts_and_pods(stage, name, size):
  programs.check_step(stage.get_config(size), name)


@pytest.mark.compile
@pytest.mark.parametrize("size", ["small", "medium"])
def test_they_train_on_one_small_chip(size):
  programs.check_step(pretrain.get_config(size), "v5e:1")


@pytest.mark.compile
@pytest.mark.parametrize("name", ["v4:8", "v5p:8", "tpu7x:4"])
def test_other_generations_train(name):
  programs.check_step(pretrain.get_config("medium"), name)


@pytest.mark.compile
def test_parameters_can_be_divided():
  programs.check_step(pretrain.get_config("medium"), "v5e:4x4", fsdp=16)


@pytest.mark.compile
def test_a_frozen_separator_is_fine_tuned():
  config = finetune.get_config("medium").changed(init={"freeze": "blocks"})
  programs.check_step(config, "v5e:4x4")


@pytest.mark.compile
@pytest.mark.parametrize("stage", [pretrain, finetune])
def test_validation(stage):
  """Every host validates on its own chips, here four."""
  target = programs.target_or_skip("v5e:2x2")
  config = stage.get_config("medium").changed(run={"batch": 16})
  objective, mesh = programs.settled(config, target)
  step = programs.compiled(programs.valid_step(objective, mesh), target)
  assert (
    step.memory_analysis().peak_memory_in_bytes < (1 - programs.MARGIN) * target.memory
  )
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
  assert (
    step.memory_analysis().peak_memory_in_bytes < (1 - programs.MARGIN) * target.memory
  )
  assert not list(collectives(step.as_text()))
