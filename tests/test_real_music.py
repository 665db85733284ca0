"""The whole recipe on real music, with the small preset at 44.1 kHz."""

import json
import os
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from mixit_jax.audio.files import read_audio
from mixit_jax.data.songs import find_songs, read_song

STEMS = ("bass", "drums", "vocals", "other")

SMALL = [
  "--config.model.dropout=0.0",
  "--config.model.remat=none",
  "--config.data.seconds=2.0",
  "--config.data.threads=1",
  "--config.optimizer.warmup_steps=1",
  "--config.run.batch=1",
  "--config.run.log_every=1",
  "--config.run.steps=3",
  "--config.run.steps_per_epoch=3",
  "--config.valid.media=0",
  # Of the small model, what serves to see that all works.
  "--config.model.num_blocks=1",
  "--config.model.embed_dim=32",
  "--config.model.ffn_dim=32",
]


def run(*command):
  """Runs a command as a user would, and shows what it said when it fails."""
  result = subprocess.run(
    [sys.executable, "-m", *map(str, command)],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "XLA_FLAGS": ""},
  )
  assert result.returncode == 0, result.stderr[-2000:]
  return result


def metrics(workdir, group):
  lines = [
    json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  return [line for line in lines if line["group"] == group]


@pytest.fixture(scope="module")
def runs(realdata, tmp_path_factory):
  """Prepared data, a pre-trained and a fine-tuned run."""
  out = tmp_path_factory.mktemp("real")
  run("data_prep.fma", f"--audio={realdata}/fma_like", f"--out={out}/fma")
  songs = sorted(p.name for p in (realdata / "stems/train").iterdir() if p.is_dir())
  run(
    "data_prep.musdb",
    f"--musdb={realdata}/stems",
    f"--out={out}/musdb",
    f"--valid-songs={songs[0]}",
  )
  run(
    "mixit_jax.main",
    "--config=configs/pretrain.py:small",
    f"--workdir={out}/pretrain",
    f"--config.data.shards={out}/fma",
    "--config.valid.examples=1",
    *SMALL,
  )
  excerpt = out / "excerpt"
  # Only one of the songs has a bass, so the training songs serve here once more.
  _cut_songs(realdata / "stems/train", excerpt / "valid", seconds=2)
  _cut_songs(realdata / "stems/test", excerpt / "test", seconds=5)
  run(
    "mixit_jax.main",
    "--config=configs/finetune.py:small",
    f"--workdir={out}/finetune",
    f"--config.data.shards={out}/musdb",
    f"--config.data.songs={excerpt}/valid",
    f"--config.init.run={out}/pretrain",
    "--config.init.select_seconds=2.0",
    "--config.valid.chunk_seconds=2.0",
    "--config.valid.hop_seconds=2.0",
    *SMALL,
  )
  return out


def _cut_songs(source, target, seconds):
  """Excerpts in which every stem sounds: whole songs would take minutes on a CPU."""
  from mixit_jax.audio.files import write_audio

  for folder in find_songs(source):
    song = read_song(folder)
    length = seconds * 44100
    starts = range(0, song.mixture.shape[-1] - length, 44100)
    start = max(starts, key=lambda s: _quietest(song.references[..., s : s + length]))
    part = slice(start, start + length)
    for name, audio in zip(STEMS, song.references, strict=True):
      write_audio(target / folder.name / f"{name}.flac", audio[:, part], 44100)
    write_audio(target / folder.name / "mixture.flac", song.mixture[:, part], 44100)


def _quietest(references):
  """Power of the quietest stem, relative to that of all."""
  power = np.mean(references.astype(np.float64) ** 2, axis=(1, 2))
  return power.min() / (power.sum() + 1e-9)


def test_preparation_takes_every_format(runs, realdata):
  manifest = json.loads((runs / "fma/manifest.json").read_text())
  files = [p for p in (realdata / "fma_like").iterdir() if p.suffix != ".tsv"]
  assert manifest["sample_rate"] == 44100
  assert len(manifest["skipped"]) < len(files) / 2
  assert sum(s["records"] for s in manifest["splits"]["train"]["mixture"]) > 50


@pytest.mark.realdata
def test_training_is_finite_and_selects_channels(runs):
  for name in ("pretrain", "finetune"):
    losses = [m["loss"] for m in metrics(runs / name, "train")]
    losses += [m["loss"] for m in metrics(runs / name, "valid")]
    assert len(losses) == 4
    assert np.isfinite(losses).all()
  selection = json.loads((runs / "finetune/channel_selection.json").read_text())
  assert len(set(selection["outputs"])) == 4


@pytest.mark.realdata
def test_the_test_song_is_separated_and_scored(runs):
  run(
    "mixit_jax.cli",
    "evaluate",
    runs / "finetune",
    f"--songs={runs}/excerpt/test",
    f"--json={runs}/scores.json",
    "--chunk=2",
    "--hop=2",
  )
  scores = json.loads((runs / "scores.json").read_text())
  assert np.isfinite(scores["average_improvement_db"])
  song = next((runs / "excerpt/test").iterdir()) / "mixture.flac"
  run(
    "mixit_jax.cli",
    "separate",
    runs / "finetune",
    song,
    f"--out={runs}/stems",
    "--chunk=2",
    "--hop=2",
  )
  length = read_audio(song).shape
  for stem in STEMS:
    audio = read_audio(runs / "stems/mixture" / f"{stem}.wav")
    assert audio.shape == length
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() > 0


@pytest.mark.realdata
def test_loss_falls_on_a_repeated_batch_of_real_music(runs):
  import jax

  from mixit_jax.devices.mesh import local_mesh
  from mixit_jax.training.objectives import make_objective
  from mixit_jax.training.optimizer import make_optimizer
  from mixit_jax.training.state import new_state
  from mixit_jax.training.step import make_train_step
  from mixit_jax.training.workdir import stored_config
  from mixit_jax.weights.runs import read_weights

  config = stored_config(runs / "pretrain")
  mesh = local_mesh(1)
  objective = make_objective(config, mesh)
  with closing(objective.host_batches(objective.examples(), 0)) as batches:
    batch = objective.batch(next(batches))
  optimizer = make_optimizer(config.optimizer, 100)
  params = read_weights(runs / "pretrain", "latest").params
  state = new_state(jax.device_put(params), optimizer)
  step = jax.jit(
    make_train_step(objective.loss, optimizer, config, mesh), donate_argnums=0
  )
  losses = []
  for _ in range(5):
    state, values = step(state, batch)
    losses.append(float(values["loss"]))
  assert np.isfinite(losses).all()
  assert min(losses[2:]) < losses[0]
