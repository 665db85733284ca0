import dataclasses
import json
import logging
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from training.tiny import STEMS, finetune_config, pretrain_config

from mixit_jax.devices.mesh import make_mesh
from mixit_jax.errors import UserError
from mixit_jax.separator import init
from mixit_jax.training.dataset import settle_data
from mixit_jax.training.initialize import check_start, initial_state
from mixit_jax.training.loop import train
from mixit_jax.training.objectives import make_objective
from mixit_jax.weights import runs
from mixit_jax.weights.runs import read_weights


def metrics(run, group):
  lines = [
    json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()
  ]
  return [line for line in lines if line["group"] == group]


def leaves(run, step):
  return jax.tree.leaves(runs.load_params(run, [step]))


def with_init(config, **values):
  return dataclasses.replace(config, init=dataclasses.replace(config.init, **values))


def test_pretraining_saves_logs_and_validates(pretrained):
  assert set(runs.checkpoint_steps(pretrained)) >= {4, 6, 8}
  assert sorted(runs.valid_losses(pretrained)) == [4, 8]
  assert [line["step"] for line in metrics(pretrained, "train")] == [2, 4, 6, 8]
  last = metrics(pretrained, "valid")[-1]
  assert np.isfinite([last["loss"], last["improvement_db"]]).all()
  assert any((pretrained / "tensorboard").iterdir())


def test_finetuning_selects_channels_first_and_stores_which(finetuned, pretrained):
  selection = json.loads((finetuned / "channel_selection.json").read_text())
  assert selection["stems"] == list(STEMS)
  assert len(set(selection["outputs"])) == 4
  assert np.sum(selection["votes"]) > 0
  assert selection["weights"]["run"] == str(pretrained)


def test_finetuning_scores_whole_validation_songs(finetuned):
  last = metrics(finetuned, "valid")[-1]
  for name in ("usdr", "csdr"):
    stems = [last[f"{name}/{stem}"] for stem in STEMS]
    assert last[name] == pytest.approx(np.mean(stems))


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(music, pretrained, tmp_path):
  train(pretrain_config(music, steps=3, save_every=3), tmp_path)
  train(pretrain_config(music), tmp_path)
  for ours, theirs in zip(leaves(tmp_path, 8), leaves(pretrained, 8), strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_a_finished_run_is_left_as_it_is(music, pretrained):
  before = {p: p.stat().st_mtime_ns for p in pretrained.rglob("*") if p.is_file()}
  train(pretrain_config(music), pretrained)
  after = {p: p.stat().st_mtime_ns for p in pretrained.rglob("*") if p.is_file()}
  del before[pretrained / "config.json"], after[pretrained / "config.json"]
  assert after == before


def test_a_request_to_stop_saves_and_returns(music, tmp_path, monkeypatch):
  from mixit_jax.training.telemetry import Telemetry

  advance = Telemetry.advance

  def stop_at_step_3(self, step):
    if step == 3:
      os.kill(os.getpid(), signal.SIGTERM)
    advance(self, step)

  monkeypatch.setattr(Telemetry, "advance", stop_at_step_3)
  train(pretrain_config(music, save_every=100), tmp_path)
  assert runs.checkpoint_steps(tmp_path) == [3]


def test_frozen_blocks_train_only_band_split_and_decoder(music, pretrained, tmp_path):
  config = with_init(
    finetune_config(music, steps=2, batch=8), run=str(pretrained), freeze="blocks"
  )
  train(config, tmp_path)
  start, end = read_weights(pretrained).params, read_weights(tmp_path).params
  jax.tree.map(np.testing.assert_array_equal, start["blocks"], end["blocks"])
  for name, leaf in end["band_split"].items():
    for key, value in leaf.items():
      assert not np.array_equal(value, start["band_split"][name][key]), (name, key)


@pytest.fixture
def poison(monkeypatch):
  """Makes every batch not finite."""
  from mixit_jax.training.objectives import Pretraining

  batch = Pretraining.batch

  def poisoned(self, examples):
    found = batch(self, examples)
    return found._replace(ratio_db=found.ratio_db * np.float32(np.nan))

  monkeypatch.setattr(Pretraining, "batch", poisoned)


@pytest.mark.usefixtures("poison")
def test_bad_batches_are_skipped_and_end_the_run_after_some(music, tmp_path, caplog):
  with (
    caplog.at_level(logging.WARNING),
    pytest.raises(UserError, match="3 steps in a row up to step 3"),
  ):
    train(pretrain_config(music, max_skips=3, save_every=100), tmp_path)
  assert "records [[" in caplog.text
  assert all(np.isfinite(leaf).all() for leaf in leaves(tmp_path, 4))


@pytest.mark.usefixtures("poison")
@pytest.mark.slow
def test_skipped_steps_in_a_row_are_counted_across_a_restart(music, tmp_path):
  train(pretrain_config(music, steps=2, max_skips=3), tmp_path)
  with pytest.raises(UserError, match="3 steps in a row up to step 3"):
    train(pretrain_config(music, max_skips=3), tmp_path)


def test_data_that_has_changed_is_refused(music, pretrained, tmp_path):
  shutil.copytree(pretrained, tmp_path / "run")
  other = tmp_path / "other"
  from training.tiny import write_music

  write_music(other)
  manifest = json.loads((other / "manifest.json").read_text())
  del manifest["fingerprint"]
  manifest["splits"]["train"]["mixture"] *= 2
  from mixit_jax.data.records import Manifest

  Manifest(**manifest).save(other)
  with pytest.raises(UserError, match="not the data"):
    train(pretrain_config(other, steps=10), tmp_path / "run")


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"shards": ""}, "data.shards"),
    ({"shards": "missing"}, "missing"),
    ({"seconds": 2.0}, "cannot crop 2 s"),
  ],
)
def test_data_that_does_not_serve_is_an_error_before_anything_is_written(
  music, tmp_path, change, words
):
  config = pretrain_config(music)
  config = dataclasses.replace(config, data=dataclasses.replace(config.data, **change))
  with pytest.raises(UserError, match=words):
    train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_decoder_that_is_drawn_anew_fits_any_number_of_outputs(
  music, finetuned, pretrained, tmp_path
):
  config = with_init(finetune_config(music), run=str(pretrained), decoder="random")
  mesh = make_mesh(devices=jax.devices()[:1])
  objective = make_objective(settle_data(config), mesh)
  check_start(objective)
  state = initial_state(objective, tmp_path, mesh)
  there = read_weights(pretrained, "mean").params
  for part in ("band_split", "blocks"):
    jax.tree.map(np.testing.assert_array_equal, state.params[part], there[part])
  drawn = init(objective.model, jax.random.key(config.run.seed))["decoder"]
  jax.tree.map(np.testing.assert_array_equal, state.params["decoder"], drawn)
  assert not (tmp_path / "channel_selection.json").exists()
  # More outputs than there are: not without a new decoder.
  more = with_init(pretrain_config(music), run=str(finetuned), decoder="random")
  check_start(make_objective(more, mesh))
  with pytest.raises(UserError, match=r"set init\.run"):
    with_init(config, run="")


def test_the_best_weights_are_those_that_were_validated(music, tmp_path):
  config = pretrain_config(music)
  train(config.changed(optimizer={"ema": 0.5}), tmp_path)
  steps = read_weights(tmp_path, "best").card["steps"]
  for weights, ema in (("best", True), ("mean", True), (str(steps[0]), False)):
    chosen = read_weights(tmp_path, weights)
    expected = runs.load_params(tmp_path, chosen.card["steps"], ema=ema)
    jax.tree.map(np.testing.assert_array_equal, chosen.params, expected)
  raw = runs.load_params(tmp_path, steps, ema=False)
  assert not np.array_equal(
    jax.tree.leaves(raw)[0], jax.tree.leaves(read_weights(tmp_path, "best").params)[0]
  )


def test_a_start_from_another_architecture_is_refused(music, pretrained, tmp_path):
  config = with_init(finetune_config(music), run=str(pretrained))
  model = dataclasses.replace(config.model, embed_dim=16)
  with pytest.raises(UserError, match=r"model\.embed_dim: 8 there, 16 here"):
    train(dataclasses.replace(config, model=model), tmp_path)


def test_a_start_from_fewer_outputs_is_refused(music, finetuned, tmp_path):
  config = pretrain_config(music)
  with pytest.raises(UserError, match=r"has 4 outputs but model\.num_sources = 6"):
    train(with_init(config, run=str(finetuned)), tmp_path)


def test_a_batch_that_the_devices_cannot_divide_is_refused(music, tmp_path):
  with pytest.raises(UserError, match=r"run\.batch = 6 .* 8 devices"):
    train(pretrain_config(music, batch=6), tmp_path)


def test_full_disk_for_metrics_does_not_stop_the_training(
  music, tmp_path, monkeypatch, caplog
):
  from mixit_jax.training.telemetry import Telemetry

  def full(self, line):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(Telemetry, "_write_line", full)
  train(pretrain_config(music, steps=2), tmp_path)
  assert runs.checkpoint_steps(tmp_path) == [2]
  assert caplog.text.count("metrics cannot be written") == 1


def test_a_validation_that_a_full_disk_has_swallowed_is_reported_later(
  music, tmp_path, monkeypatch
):
  config = pretrain_config(music, steps=2)
  train(config, tmp_path)
  metrics = tmp_path / "metrics.jsonl"
  whole = metrics.read_text().splitlines()
  lost = [line for line in whole if '"valid"' not in line]
  metrics.write_text("".join(f"{line}\n" for line in lost))
  assert train(config, tmp_path)
  again = metrics.read_text().splitlines()
  assert again[:-1] == lost
  (before,) = set(whole) - set(lost)
  one, other = json.loads(before), json.loads(again[-1])
  assert one | {"time": 0} == other | {"time": 0}


def test_patience_ends_a_run_that_no_longer_improves(music, tmp_path, monkeypatch):
  from mixit_jax.training.validation import Validator

  losses = iter([3.0, 2.0, 2.5, 2.5])
  loss = Validator.loss
  monkeypatch.setattr(
    Validator, "loss", lambda *args: {**loss(*args), "loss": next(losses)}
  )
  config = pretrain_config(
    music, steps=100, steps_per_epoch=1, log_every=1, patience=2, save_every=100
  )
  assert train(config, tmp_path)
  assert runs.checkpoint_steps(tmp_path)[-1] == 4
  assert train(config, tmp_path)  # started again it stays as it is
  assert list(runs.valid_losses(tmp_path)) == [1, 2, 3, 4]


@pytest.mark.parametrize("error", [UserError, OSError, MemoryError])
def test_the_last_step_is_saved_before_a_run_dies(music, tmp_path, monkeypatch, error):
  from mixit_jax.training.telemetry import Telemetry

  advance = Telemetry.advance

  def die_at_step_3(self, step):
    if step == 3:
      raise error("something else broke")
    advance(self, step)

  monkeypatch.setattr(Telemetry, "advance", die_at_step_3)
  with pytest.raises(error, match="something else"):
    train(pretrain_config(music, save_every=100), tmp_path)
  assert runs.checkpoint_steps(tmp_path) == [3]


@pytest.mark.parametrize(
  ("message", "taken", "error", "words"),
  [
    ("RESOURCE_EXHAUSTED: Out of\nmemory", False, UserError, "try model.remat=block "),
    ("RESOURCE_EXHAUSTED: Out of\nmemory", True, UserError, "try model.remat=block "),
    ("INTERNAL: no luck", False, jax.errors.JaxRuntimeError, "INTERNAL"),
  ],
)
def test_memory_that_runs_out_is_one_line_with_what_to_change(
  music, tmp_path, monkeypatch, message, taken, error, words
):
  """While the step is compiled, or when it has taken the state, which is not saved."""
  from mixit_jax.training import loop

  make = loop.jit_train_step

  def failing(*args):
    step = make(*args)

    def run(state, batch):
      if taken:
        step(state, batch)
      raise jax.errors.JaxRuntimeError(message)

    return run

  monkeypatch.setattr(loop, "jit_train_step", failing)
  with pytest.raises(error, match=words) as caught:
    train(pretrain_config(music), tmp_path)
  assert "\n" not in str(caught.value)
  assert runs.checkpoint_steps(tmp_path) == []
