"""One training step, on one device and on meshes of eight."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.tiny import RATE, finetune_config, pretrain_config

from mixit_jax.devices.mesh import make_mesh, put_batch, state_sharding
from mixit_jax.separator import init
from mixit_jax.training.losses import PairBatch, StemBatch
from mixit_jax.training.objectives import make_objective
from mixit_jax.training.optimizer import make_optimizer
from mixit_jax.training.state import new_state
from mixit_jax.training.step import make_train_step, make_valid_step


def replace(config, section, **values):
  part = dataclasses.replace(getattr(config, section), **values)
  return dataclasses.replace(config, **{section: part})


def mixit_batch(size=8):
  draws = np.random.default_rng(0)
  segments = draws.standard_normal((size, 2, 2, RATE // 2)).astype(np.float32)
  ratio_db = draws.uniform(-5, 5, size).astype(np.float32)
  return PairBatch(np.arange(size, dtype=np.uint32), segments, ratio_db)


def stems_batch(size=8):
  draws = np.random.default_rng(1)
  references = draws.standard_normal((size, 4, 2, RATE // 2)).astype(np.float32)
  references[0, 1] = 0
  gains = np.ones((size, 4), np.float32)
  return StemBatch(np.arange(size, dtype=np.uint32), references, gains)


@functools.cache
def fresh_params(config):
  return jax.jit(lambda: init(config.model, jax.random.key(config.run.seed)))()


def run_steps(config, batch, steps=2, mesh=None):
  mesh = mesh or make_mesh(devices=jax.devices()[:1])
  loss = make_objective(config, mesh).loss
  optimizer = make_optimizer(config.optimizer, config.run.steps_per_epoch)
  state = new_state(
    jax.tree.map(jnp.copy, fresh_params(config)),
    optimizer,
    config.frozen,
    ema=config.optimizer.ema > 0,
  )
  step = jax.jit(make_train_step(loss, optimizer, config, mesh))
  state = jax.device_put(state, state_sharding(state, mesh))
  batch = put_batch(batch, mesh)
  for _ in range(steps):
    state, metrics = step(state, batch)
  return state, metrics


def assert_close(a, b, tolerance=2e-5):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, atol=tolerance, rtol=1e-4)


def assert_same_updates(a, b, start):
  """Adam turns rounding of tiny gradients into steps: compare the update as a whole."""
  flat = [
    np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (a, b, start)
  ]
  difference = np.linalg.norm(flat[0] - flat[1])
  assert difference < 1e-3 * np.linalg.norm(flat[0] - flat[2])


@pytest.mark.parametrize("kind", ["mixit", "stems", "frozen"])
def test_a_step_changes_exactly_the_trainable_parameters(kind):
  config = pretrain_config("") if kind == "mixit" else finetune_config("")
  if kind == "frozen":
    config = replace(config, "init", freeze="blocks")
  batch = mixit_batch() if kind == "mixit" else stems_batch()
  state, _ = run_steps(config, batch, steps=1)
  paths = jax.tree_util.tree_leaves_with_path(state.params)
  before = jax.tree.leaves(fresh_params(config))
  for (path, after), start in zip(paths, before, strict=True):
    frozen = kind == "frozen" and path[0].key == "blocks"
    assert np.array_equal(after, start) == frozen, jax.tree_util.keystr(path)
  optimizer_names = str(jax.tree_util.tree_structure(state.opt_state))
  assert ("'blocks'" in optimizer_names) == (kind != "frozen")


def test_loss_falls_on_a_repeated_batch():
  config = replace(pretrain_config(""), "optimizer", peak_rate=1e-2)
  _, first = run_steps(config, mixit_batch(), steps=1)
  _, later = run_steps(config, mixit_batch(), steps=12)
  assert later["loss"] < first["loss"] - 0.5


def test_accumulation_gives_the_result_of_the_whole_batch():
  config = replace(pretrain_config(""), "model", dropout=0.1, attention_dropout=0.1)
  whole, metrics = run_steps(config, mixit_batch())
  parts, part_metrics = run_steps(replace(config, "run", accumulation=4), mixit_batch())
  assert_same_updates(whole.params, parts.params, fresh_params(config))
  assert_close(metrics, part_metrics, tolerance=1e-3)


@pytest.mark.parametrize(
  ("kind", "fsdp"),
  [
    ("mixit", 2),
    ("stems", 4),
    # Each compiles for half a minute.
    pytest.param("mixit", 1, marks=pytest.mark.slow),
    pytest.param("mixit", 4, marks=pytest.mark.slow),
    pytest.param("stems", 1, marks=pytest.mark.slow),
    pytest.param("stems", 2, marks=pytest.mark.slow),
  ],
)
def test_any_mesh_gives_the_result_of_one_device(fsdp, kind, monkeypatch):
  monkeypatch.setattr("mixit_jax.devices.mesh._SMALLEST_SHARDED", 64)
  config = pretrain_config("") if kind == "mixit" else finetune_config("")
  config = replace(config, "model", dropout=0.1)
  batch = mixit_batch() if kind == "mixit" else stems_batch()
  one, one_metrics = run_steps(config, batch)
  mesh = make_mesh(fsdp)
  many, many_metrics = run_steps(config, batch, mesh=mesh)
  assert_same_updates(one.params, many.params, fresh_params(config))
  assert_close(one_metrics, many_metrics, tolerance=1e-3)


@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_compiled_step_gathers_parameters_and_never_activations(
  monkeypatch, accumulation
):
  monkeypatch.setattr("mixit_jax.devices.mesh._SMALLEST_SHARDED", 64)
  config = replace(pretrain_config(""), "run", batch=16, accumulation=accumulation)
  mesh = make_mesh(4)
  optimizer = make_optimizer(config.optimizer, 10)
  state = new_state(fresh_params(config), optimizer)
  shardings = state_sharding(state, mesh)
  loss = make_objective(config, mesh).loss
  step = jax.jit(
    make_train_step(loss, optimizer, config, mesh), out_shardings=(shardings, None)
  )
  text = (
    step.lower(jax.device_put(state, shardings), put_batch(mixit_batch(16), mesh))
    .compile()
    .as_text()
  )
  assert "all-gather" in text
  assert "all-reduce" in text or "reduce-scatter" in text
  largest = max(leaf.size for leaf in jax.tree.leaves(state.params))
  for line in text.splitlines():
    if " all-gather(" in line or " all-to-all(" in line:
      sizes = [
        int(np.prod([int(n) for n in shape.split(",") if n]))
        for shape in _shapes(line.split(" = ")[1].split("all-")[0])
      ]
      assert max(sizes) <= largest, line


def _shapes(text):
  import re

  return re.findall(r"f32\[([\d,]*)\]", text) or ["1"]


def test_running_mean_follows_the_parameters():
  config = replace(pretrain_config(""), "optimizer", ema=0.5)
  state, _ = run_steps(config, mixit_batch(), steps=1)
  expected = jax.tree.map(
    lambda start, end: 0.5 * start + 0.5 * end, fresh_params(config), state.params
  )
  assert_close(state.ema, expected, tolerance=1e-7)


def test_a_batch_that_is_not_finite_changes_nothing_and_is_counted():
  config = replace(pretrain_config(""), "optimizer", ema=0.5)
  batch = mixit_batch()
  batch.segments[3] = np.inf
  state, metrics = run_steps(config, batch, steps=2)
  assert_close(state.params, fresh_params(config), tolerance=0)
  assert_close(state.ema, fresh_params(config), tolerance=0)
  assert int(state.step) == 2
  assert int(metrics["skipped_steps"]) == int(metrics["skipped_in_row"]) == 2
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.opt_state))


def test_padding_does_not_count_in_validation():
  config = finetune_config("")
  mesh = make_mesh()
  step = jax.jit(make_valid_step(make_objective(config, mesh).loss, mesh))
  batch = stems_batch()
  whole = step(fresh_params(config), batch, jnp.ones(8))
  batch.references[5:] = np.nan
  part = step(fresh_params(config), batch, jnp.asarray([1.0] * 5 + [0.0] * 3))
  assert part["examples"] == 5
  assert np.isfinite(part["loss"])
  assert float(part["loss"]) != pytest.approx(float(whole["loss"]))
