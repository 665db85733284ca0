import dataclasses
import json
import math
import re

import jax
import pytest
from training.tiny import finetune_config, pretrain_config

from benchmarks.fit import STAGES
from benchmarks.report import RESULTS
from configs import finetune, pretrain
from mixit_jax.devices import memory
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.training import fitting
from mixit_jax.training.fitting import describe_fit, fit, fit_to_devices, step_bytes
from mixit_jax.training.workdir import stored_config

GIB = 2**30
COMPILED = json.loads((RESULTS / "fit.json").read_text())["rows"]


@pytest.fixture(scope="module")
def one():
  return make_mesh(devices=jax.devices()[:1])


def choice(config, mesh, gib):
  settled = fit(config, mesh, None if gib is None else int(gib * GIB))
  return settled.model.remat, settled.run.accumulation


def bfloat16(config):
  """What a CPU would not choose by itself."""
  return config.changed(model={"dtype": "bfloat16"})


def test_the_batch_stays_whole_where_memory_is_unknown_or_large(one):
  config = pretrain.get_config("medium")
  assert choice(config, one, None) == ("dots", 1)
  assert choice(bfloat16(config), one, 1000) == ("dots", 1)


def test_less_memory_means_more_parts_and_at_last_whole_blocks_again(one):
  config = bfloat16(pretrain.get_config("medium"))
  chosen = [choice(config, one, gib) for gib in (1000, 100, 60, 30, 16, 8, 4.5, 3.5)]
  parts = [accumulation for remat, accumulation in chosen if remat == "dots"]
  assert parts == sorted(parts)
  assert len(set(parts)) > 3
  assert all(64 % each == 0 for each in parts)
  assert chosen[-1][0] == "block"
  # Nothing fits: the most frugal, which the compiler will judge.
  assert choice(config, one, 0.1) == ("block", 64)


def test_parts_divide_what_each_device_has(one):
  eight = make_mesh(devices=jax.devices()[:8])
  config = bfloat16(finetune.get_config("large"))
  for gib in (5, 8, 16, 32):
    assert choice(config, eight, gib)[1] in (1, 2, 4)
    assert choice(config, eight, gib)[1] <= choice(config, one, gib)[1]


def test_what_is_chosen_is_expected_to_fit(one):
  for size in ("small", "medium", "large"):
    config = bfloat16(pretrain.get_config(size))
    for gib in (10, 16, 60, 106):
      settled = fit(config, one, gib * GIB)
      assert step_bytes(settled, one) <= gib * GIB
      assert f"of {gib}.0 GiB" in describe_fit(settled, one, gib * GIB)


@pytest.mark.parametrize("remat", ["none", "dots", "block"])
def test_a_fixed_choice_stays(one, remat):
  config = pretrain_config("", accumulation=2).changed(model={"remat": remat})
  assert fit(config, one, 1) == config
  assert fit(config, one, None) == config


def test_only_the_part_that_is_left_open_is_chosen(one):
  config = bfloat16(pretrain.get_config("medium"))
  assert choice(config.changed(model={"remat": "block"}), one, 16)[0] == "block"
  assert choice(config.changed(run={"accumulation": 4}), one, 4) == ("block", 4)


def test_the_estimate_counts_state_precision_and_remat(one):
  config = bfloat16(pretrain.get_config("small")).changed(run={"batch": 4})
  settled = fit(config, one, None)

  def estimate(**sections):
    return step_bytes(settled.changed(**sections), one)

  assert estimate(model={"dtype": "float32"}) > estimate()
  assert estimate(model={"remat": "none"}) > estimate()
  assert estimate(model={"remat": "block"}) < estimate()
  assert estimate(optimizer={"ema": 0.99}) > estimate()
  assert estimate(run={"batch": 8, "accumulation": 2}) < estimate(run={"batch": 8})


@pytest.mark.parametrize("make", [pretrain_config, finetune_config])
def test_a_run_keeps_the_configuration_and_trains_by_the_choice(
  make, monkeypatch, caplog
):
  """Devices that say what they have are asked; the choice is told in one line."""
  config = make("").changed(model={"remat": "auto"}, run={"accumulation": 0})
  mesh = make_mesh(2)
  monkeypatch.setattr(memory, "offered", lambda devices: 100 * GIB)
  caplog.set_level("INFO")
  settled = fit_to_devices(config, mesh)
  assert (settled.model.remat, settled.run.accumulation) == ("dots", 1)
  assert "of 100.0 GiB expected" in caplog.text
  monkeypatch.setattr(fitting, "_BASE", 200 * GIB)
  frugal = fit_to_devices(config, mesh)
  assert frugal.model.remat == "block"
  unchanged = dataclasses.replace(settled, model=config.model, run=config.run)
  assert unchanged == config


def test_the_folder_keeps_what_was_asked_for(pretrained):
  stored = stored_config(pretrained)
  assert (stored.model.remat, stored.run.accumulation) == ("auto", 0)


@pytest.mark.parametrize(
  "row", COMPILED, ids=lambda row: f"{row['target']} {row['stage']} {row['size']}"
)
def test_the_estimate_lies_above_what_was_compiled(row, one):
  """The rows of docs/scaling.md, and not so far above that it would be of no use."""
  devices = re.search(r"\d+(x\d+)?$", row["target"])[0]
  config = bfloat16(STAGES[row["stage"]](row["size"]))
  each = config.run.batch // math.prod(int(side) for side in devices.split("x"))
  config = config.changed(
    model={"remat": row["remat"]},
    run={"batch": each, "accumulation": row["accumulation"]},
  )
  assert row["gib"] < step_bytes(config, one) / GIB < 2.3 * row["gib"]
