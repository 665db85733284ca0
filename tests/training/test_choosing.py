"""Which outputs of a pre-trained model the stems of a fine-tuning begin with."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from training.tiny import STEMS, finetune_config

from mixit_jax.devices.mesh import make_mesh
from mixit_jax.errors import UserError
from mixit_jax.evaluation.sums import fit_sums
from mixit_jax.separator import separate
from mixit_jax.separator.outputs import sum_outputs
from mixit_jax.training import choosing
from mixit_jax.training.dataset import settle_data
from mixit_jax.training.initialize import initial_state
from mixit_jax.training.loop import train
from mixit_jax.training.objectives import make_objective
from mixit_jax.weights.runs import read_weights


def start_from(config, run):
  init = dataclasses.replace(config.init, run=str(run))
  return dataclasses.replace(config, init=init)


def test_all_outputs_are_summed_up_where_the_model_has_masks(
  music, pretrained, tmp_path
):
  there = read_weights(pretrained)
  config = start_from(finetune_config(music), pretrained)
  config = config.changed(model={"num_masks": there.config.num_sources})
  mesh = make_mesh(devices=jax.devices()[:1])
  objective = make_objective(settle_data(config), mesh)
  objective.open_validation()
  state = initial_state(objective, tmp_path, mesh)
  stored = json.loads((tmp_path / "output_sums.json").read_text())
  assert stored["stems"] == list(STEMS)
  mixture = np.random.default_rng(0).standard_normal((1, 2, 4000), np.float32)
  config, params = sum_outputs(there.params, there.config, np.array(stored["sums"]))
  assert config.num_masks == objective.model.num_masks
  expected = separate(config, params, mixture)
  found = separate(objective.model, state.params, mixture)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
  ("seconds", "most", "songs"), [(180, 16, 1), (1, 16, 3), (1, 2, 2)]
)
def test_sums_fit_validation_songs_and_training_mixes(
  seconds, most, songs, music, pretrained, tmp_path, monkeypatch
):
  """Three seconds of every stem count as one song or three."""
  monkeypatch.setattr(choosing, "_SONG_SECONDS", seconds)
  monkeypatch.setattr(choosing, "_MOST_SONGS", most)
  weights = read_weights(pretrained)
  count = weights.config.num_sources
  config = start_from(finetune_config(music), pretrained)
  config = settle_data(config.changed(model={"num_masks": count}))
  objective = make_objective(config, make_mesh(devices=jax.devices()[:1]))
  objective.open_validation()
  found = choosing.choose_outputs(objective, weights, tmp_path)

  def separated(stems):
    mixture = np.asarray(stems.sum(axis=0, keepdims=True), np.float32)
    return stems, np.asarray(separate(weights.config, weights.params, mixture))[0]

  every = [
    [
      separated(song.references[..., start : start + 1000])
      for start in range(0, song.references.shape[-1] - 999, 1000)
    ]
    for song in map(objective.read_song, objective.valid_songs)
  ]
  examples = objective.examples()
  for song in range(songs):
    mixes = [examples[number] for number in range(32 * song, 32 * song + 32)]
    stems = [m["references"] / 32768 * m["gains"][:, None, None] for m in mixes]
    every.append([separated(mix) for mix in stems])
  expected = fit_sums(every, STEMS, weights.config).sums
  np.testing.assert_allclose(found, expected, atol=1e-3)
  assert np.abs(found - fit_sums(every[:-1], STEMS, weights.config).sums).max() > 0.01


def test_a_start_from_another_number_of_masks_is_refused(music, pretrained, tmp_path):
  config = start_from(finetune_config(music, steps=1), pretrained)
  count = read_weights(pretrained).config.num_sources
  with pytest.raises(UserError, match=rf"has {count} masks .*num_masks={count}"):
    train(config.changed(model={"num_masks": count + 1}), tmp_path / "more")
  several = config.changed(model={"num_masks": count})
  train(several, tmp_path / "sums")
  config = start_from(config, tmp_path / "sums")
  with pytest.raises(UserError, match=f"has {count} masks but model.num_masks = 0"):
    train(config, tmp_path / "one")
  # A fine-tuned model keeps its outputs, in their order.
  again = start_from(several, tmp_path / "sums")
  assert train(again, tmp_path / "again")
  assert not (tmp_path / "again/output_sums.json").exists()
