"""What a compiled training step may cost: no clock, so no noise.

The step is that of configs/pretrain.py:small with its dropout and remat, on an example
of 1 s. Each bound is a tenth above what was counted (CPU, jax 0.10.2). A change that
exceeds one is a mistake, or has to argue for a new bound.
"""

import collections
import logging
import re

import jax
import pytest
from training.tiny import finetune_config

from configs import pretrain
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.doctor.forecast import compile_step
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.costs import step_flops
from mixit_jax.training.loop import train
from mixit_jax.training.objectives import make_objective

SECONDS = 1.0
MIB = 2**20


@pytest.fixture(scope="module")
def compiled():
  config = pretrain.get_config("small").changed(
    model={"dtype": "float32"}, data={"seconds": SECONDS}, run={"batch": 1}
  )
  mesh = make_mesh(devices=jax.devices()[:1])
  return compile_step(make_objective(config, mesh), mesh).step


def test_operations_are_those_of_the_analysis(compiled):
  # XLA counts the body of a loop once: one of four blocks, one group of attention.
  config = SeparatorConfig.preset("small", num_sources=12, num_blocks=1)
  expected = step_flops(config, round(SECONDS * config.sample_rate), 1)
  # The cheap steps (norms, gates, the optimizer) come on top.
  assert expected <= compiled.cost_analysis()["flops"] <= 1.1 * expected


def test_bytes_that_are_read_and_written(compiled):
  assert compiled.cost_analysis()["bytes accessed"] <= 7_650 * MIB


def test_memory_beside_the_state(compiled):
  assert compiled.memory_analysis().temp_size_in_bytes <= 596 * MIB


def test_the_state_is_updated_in_place(compiled):
  memory = compiled.memory_analysis()
  metrics = 4096
  assert memory.alias_size_in_bytes >= memory.output_size_in_bytes - metrics


def test_size_of_the_program(compiled):
  """It is what compilation takes its time for."""
  assert len(compiled.as_text().splitlines()) <= 47_200


def test_a_run_compiles_each_program_once(music, tmp_path, caplog):
  with jax.log_compiles(), caplog.at_level(logging.DEBUG, "jax"):
    train(finetune_config(music), tmp_path)
  names = re.findall(r"Finished XLA compilation of jit\((\w+)\)", caplog.text)
  counts = collections.Counter(names)
  # The training and the validation step; the rest may serve a selection and scores.
  assert counts["step"] == 2
  assert all(count <= 2 for count in counts.values()), counts
