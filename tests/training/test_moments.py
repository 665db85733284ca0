"""Starts that keep the optimizer's moments of another run."""

import json

import jax
import numpy as np
import pytest
from training.tiny import finetune_config, pretrain_config

from mixit_jax.devices.mesh import make_mesh
from mixit_jax.errors import UserError
from mixit_jax.separator.outputs import select_outputs
from mixit_jax.training.dataset import settle_data
from mixit_jax.training.initialize import check_start, initial_state
from mixit_jax.training.loop import train
from mixit_jax.training.moments import find_moments
from mixit_jax.training.objectives import make_objective
from mixit_jax.weights.folder import restore_tree, save_weights
from mixit_jax.weights.runs import read_weights


def started(config, workdir):
  mesh = make_mesh(devices=jax.devices()[:1])
  objective = make_objective(settle_data(config), mesh)
  check_start(objective)
  objective.open_validation()
  return initial_state(objective, workdir, mesh)


def saved_moments(run, step):
  """Return count, first and second moments as Orbax stored them."""
  plain = restore_tree(run / "checkpoints" / str(step) / "state", "opt_state")
  [adam] = [part for part in plain[1] if part and "mu" in part]
  return int(adam["count"]), adam["mu"], adam["nu"]


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), b)


def keeping(config, run, **init):
  start = {"run": str(run), "optimizer": "keep", "weights": "latest"}
  return config.changed(init=start | init)


def test_the_same_outputs_keep_all_moments(music, pretrained, tmp_path):
  state = started(keeping(pretrain_config(music), pretrained), tmp_path)
  count, mean, square = saved_moments(pretrained, 8)
  found = find_moments(state.opt_state)
  assert int(found.count) == count == 8
  assert_same(found.mu, mean)
  assert_same(found.nu, square)
  # The learning rate begins anew.
  assert [int(x) for x in jax.tree.leaves(state.opt_state[1][2])] == [0]


def test_selected_outputs_take_their_moments_along(music, pretrained, tmp_path):
  config = keeping(finetune_config(music), pretrained, freeze="blocks")
  found = find_moments(started(config, tmp_path).opt_state)
  there = read_weights(pretrained, "latest")
  _, mean, square = saved_moments(pretrained, 8)
  layer = there.params["decoder"]
  kept = json.loads((tmp_path / "channel_selection.json").read_text())["outputs"]
  for moments, saved in ((found.mu, mean), (found.nu, square)):
    assert set(moments) == {"band_split", "decoder"}
    assert set(moments["decoder"]) == set(layer)
    expected = select_outputs(saved, there.config, kept)[1]
    assert_same(moments["decoder"], expected["decoder"])
    assert_same(moments["band_split"], saved["band_split"])


@pytest.mark.parametrize("decoder", ["keep", "random"])
def test_what_is_new_begins_without_moments(decoder, music, pretrained, tmp_path):
  config = keeping(finetune_config(music), pretrained, decoder=decoder)
  config = config.changed(model={"num_masks": 6})
  state = started(config, tmp_path)
  _, mean, square = saved_moments(pretrained, 8)
  found = find_moments(state.opt_state)
  for moments, saved in ((found.mu, mean), (found.nu, square)):
    assert not np.any(moments["decoder"].pop("weights"))
    if decoder == "random":
      assert not any(np.any(leaf) for leaf in jax.tree.leaves(moments["decoder"]))
    else:
      assert_same(moments["decoder"], saved["decoder"])
    assert_same(moments["blocks"], saved["blocks"])


def test_the_first_step_differs_and_training_goes_on(music, pretrained, tmp_path):
  config = finetune_config(music, steps=2)
  ends = {}
  for optimizer in ("new", "keep"):
    kept = keeping(config, pretrained, optimizer=optimizer)
    assert train(kept, tmp_path / optimizer)
    ends[optimizer] = read_weights(tmp_path / optimizer, "latest").params["blocks"]
  a, b = (jax.tree.leaves(ends[name])[0] for name in ("new", "keep"))
  assert np.isfinite(b).all()
  assert not np.allclose(a, b, atol=1e-6)


def test_moments_that_are_not_there_are_an_error(music, pretrained, tmp_path):
  frozen = finetune_config(music, steps=1).changed(
    init={"run": str(pretrained), "freeze": "blocks"}
  )
  train(frozen, tmp_path / "frozen")
  with pytest.raises(UserError, match="were frozen and have no moments"):
    started(keeping(finetune_config(music), tmp_path / "frozen"), tmp_path)
  save_weights(tmp_path / "weights", read_weights(pretrained))
  with pytest.raises(UserError, match="folder of weights, without"):
    started(keeping(pretrain_config(music), tmp_path / "weights"), tmp_path)
  with pytest.raises(UserError, match=r"set init\.run"):
    pretrain_config(music).changed(init={"optimizer": "keep"})
