"""Every program of the package, compiled for NVIDIA GPUs by XLA's own compiler.

It comes with the extra cuda12; without it these tests are skipped.
"""

import re
from collections import Counter

import pytest

from compiling import programs
from configs import finetune, pretrain

pytestmark = pytest.mark.compile

_CALL = re.compile(r'custom_call_target="__([^"]+)"')


@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("name", ["h100", "h100:8"])
@pytest.mark.parametrize("stage", [pretrain, finetune])
def test_the_shipped_configurations_train(stage, name, size):
  check(stage, name, size)


@pytest.mark.parametrize("name", ["h200", "h200:8"])
def test_more_memory_is_used(name):
  check(pretrain, name, "medium")


def check(stage, name, size):
  step = programs.check_step(stage.get_config(size), name)
  calls = Counter(_CALL.findall(step.as_text()))
  # Blocks are unrolled. Each attends along two paths; nothing is computed twice.
  blocks = stage.get_config(size).model.num_blocks
  assert calls["cudnn$fmhaSoftmax"] == calls["cudnn$fmhaSoftmaxBackward"] == 2 * blocks
  # Two convolutions in each of four feed-forward layers, by tensor cores.
  for kind in ("BiasActivationForward", "BackwardInput", "BackwardFilter"):
    assert calls[f"cudnn$conv{kind}"] == 8 * blocks
  # The host waits for no predicate.
  assert " conditional(" not in step.as_text()


@pytest.mark.parametrize("size", ["small", "medium"])
def test_they_train_on_a_card_of_24_gb(size):
  programs.check_step(pretrain.get_config(size), "rtx4090")


def test_parameters_can_be_divided():
  programs.check_step(pretrain.get_config("medium"), "h100:8", fsdp=8)


def test_sequences_of_odd_length_train():
  config = pretrain.get_config("small").changed(data={"seconds": 1.01})
  programs.check_step(config, "h100")


@pytest.mark.parametrize("stage", [pretrain, finetune])
def test_validation_and_separation(stage):
  target = programs.target_or_skip("h100:8")
  objective, mesh = programs.settled(stage.get_config("medium"), target)
  separation = programs.separation(objective.model, mesh, seconds=12.0, chunks=2)
  for lowered in (programs.valid_step(objective, mesh), separation):
    step = programs.compiled(lowered, target)
    programs.check_memory(step, target)
