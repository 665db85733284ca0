"""Mistakes in a configuration: one line, before anything is compiled or written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from training.tiny import RATE, STEMS, finetune_config, pretrain_config, stem_audio

from mixit_jax.audio.files import write_audio
from mixit_jax.errors import UserError
from mixit_jax.main import main
from mixit_jax.training.config import Config
from mixit_jax.training.workdir import claim_workdir

# ml_collections loads files in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIG = """
import sys
sys.path.insert(0, {tests!r})
from training.tiny import pretrain_config, finetune_config

def get_config(kind):
  make = pretrain_config if kind == "pretrain" else finetune_config
  return make({music!r})
"""

_compiled = []
jax.monitoring.register_event_duration_secs_listener(
  lambda name, seconds, **_: _compiled.append(name) if "compile" in name else None
)


@pytest.fixture(scope="module")
def config_file(music, tmp_path_factory):
  file = tmp_path_factory.mktemp("config") / "tiny.py"
  file.write_text(CONFIG.format(tests=str(Path(__file__).parent), music=str(music)))
  return file


@pytest.fixture
def complaint(config_file, tmp_path, capfd):
  """Runs a training that must fail; gives the one line that it says."""

  def run(kind, *overrides, workdir=tmp_path / "run"):
    files = set(tmp_path.rglob("*"))
    _compiled.clear()
    arguments = [f"--config={config_file}:{kind}", f"--workdir={workdir}"]
    flags = [f"--config.{override}" for override in overrides]
    status = main(["main", *arguments, *flags])
    lines = capfd.readouterr().err.splitlines()
    assert status == 1
    assert len(lines) == 1, lines
    assert set(tmp_path.rglob("*")) == files
    assert not _compiled
    return lines[0]

  return run


@pytest.mark.parametrize(
  ("kind", "override", "words"),
  [
    # Keys that do not exist, values of the wrong kind.
    ("pretrain", "run.bacth=8", ["bacth", "did you mean batch"]),
    ("pretrain", "zebra.stripes=8", ["zebra"]),
    ("pretrain", "run.batch.x=8", ["run.batch.x"]),
    ("pretrain", "run=8", ["run"]),
    ("pretrain", "run.batch=many", ["run.batch=many"]),
    ("pretrain", "run.batch=8.5", ["run.batch=8.5"]),
    ("pretrain", "optimizer.peak_rate=fast", ["optimizer.peak_rate=fast"]),
    ("pretrain", "model.scan_blocks=perhaps", ["model.scan_blocks"]),
    ("pretrain", "data.stems=(1,2)", ["data.stems", "str"]),
    ("pretrain", "model.bands=wide", ["model.bands", "int"]),
    # Numbers out of range.
    ("pretrain", "optimizer.peak_rate=-1e-3", ["optimizer.peak_rate", "positive"]),
    ("pretrain", "optimizer.peak_rate=0", ["optimizer.peak_rate", "positive"]),
    ("pretrain", "optimizer.peak_rate=nan", ["optimizer.peak_rate", "finite"]),
    ("pretrain", "optimizer.peak_rate=inf", ["optimizer.peak_rate", "finite"]),
    ("pretrain", "optimizer.weight_decay=nan", ["optimizer.weight_decay", "finite"]),
    ("pretrain", "optimizer.clip_norm=inf", ["optimizer.clip_norm", "finite"]),
    ("pretrain", "optimizer.b1=nan", ["optimizer.b1", "finite"]),
    ("pretrain", "optimizer.b2=1.0", ["optimizer.b2", "[0, 1)"]),
    ("pretrain", "optimizer.decay=1.1", ["optimizer.decay", "at most 1"]),
    ("pretrain", "optimizer.warmup_steps=-1", ["optimizer.warmup_steps", "negative"]),
    ("pretrain", "objective.tau=0", ["objective.tau", "positive"]),
    ("pretrain", "objective.tau=nan", ["objective.tau", "finite"]),
    ("pretrain", "data.seconds=inf", ["data.seconds", "finite"]),
    ("pretrain", "data.seconds=-1", ["data.seconds", "positive"]),
    ("pretrain", "data.drop=nan", ["data.drop", "finite"]),
    ("pretrain", "data.gain_db=inf", ["data.gain_db", "finite"]),
    ("pretrain", "data.seed=-1", ["data.seed", "negative"]),
    ("pretrain", "data.threads=8", ["data.buffer = 4", "data.threads = 8"]),
    ("pretrain", "run.steps=0", ["run.steps", "positive"]),
    ("pretrain", "run.batch=0", ["run.batch", "positive"]),
    ("pretrain", "run.accumulation=-1", ["run.accumulation", "not be negative"]),
    ("pretrain", "run.watchdog_seconds=inf", ["run.watchdog_seconds", "finite"]),
    ("pretrain", "valid.chunk_seconds=nan", ["valid.chunk_seconds", "finite"]),
    ("pretrain", "mesh.fsdp=0", ["mesh.fsdp", "positive"]),
    ("pretrain", "model.embed_dim=0", ["model.embed_dim", "positive"]),
    ("pretrain", "model.dropout=nan", ["model.dropout", "finite"]),
    ("pretrain", "model.dropout=1.0", ["model.dropout", "[0, 1)"]),
    # Names that are not offered.
    ("pretrain", "objective.kind=mixitt", ["objective.kind", "mixit, stems"]),
    ("pretrain", "objective.assignment=best", ["objective.assignment", "efficient"]),
    ("pretrain", "mesh.distributed=yes", ["mesh.distributed", "auto, on, off"]),
    ("pretrain", "model.dtype=float16", ["model.dtype", "bfloat16"]),
    ("pretrain", "model.remat=all", ["model.remat", "block"]),
    ("pretrain", "run.profile=5:2", ["run.profile", '"5:2"', "first:last"]),
    ("pretrain", "run.profile=soon", ["run.profile", "first:last"]),
    # Values that contradict each other.
    ("pretrain", "run.accumulation=3", ["run.accumulation = 3", "run.batch = 8"]),
    ("pretrain", "run.batch=12", ["run.batch = 12", "8 devices"]),
    ("pretrain", "mesh.fsdp=3", ["mesh.fsdp = 3", "8 devices", "divisor"]),
    ("pretrain", "data.seconds=0.05", ["data.seconds", "model.n_fft = 128"]),
    ("pretrain", "data.seconds=3.0", ["cannot crop 3 s"]),
    ("pretrain", "valid.chunk_seconds=0.05", ["valid.chunk_seconds", "model.n_fft"]),
    ("pretrain", "init.select_seconds=0.05", ["init.select_seconds", "model.n_fft"]),
    ("pretrain", "valid.hop_seconds=2", ["valid.hop_seconds", "chunk_seconds = 1"]),
    ("pretrain", "valid.hop_seconds=1e-9", ["valid.hop_seconds", "a sample"]),
    ("pretrain", "model.hop=512", ["model.n_fft", "hop=512"]),
    ("pretrain", "model.bands=(8,8)", ["model.bands", "65"]),
    ("pretrain", "model.num_heads=3", ["model.num_heads", "embed_dim=8"]),
    ("pretrain", "init.freeze=blocks", ["init.freeze", 'objective.kind = "stems"']),
    ("finetune", "model.num_sources=6", ["model.num_sources = 6", "4 stems"]),
    (
      "finetune",
      "data.stems=('bass','bass','drums','other')",
      ["data.stems", "different"],
    ),
    # Data.
    ("pretrain", "data.shards=", ["--config.data.shards"]),
    ("pretrain", "data.shards=nowhere", ["nowhere/manifest.json"]),
    ("finetune", "data.songs=nowhere", ["nowhere", "song"]),
    ("finetune", "data.stems=('bass','drums','vocals','piano')", ["piano"]),
    ("pretrain", "model.sample_rate=4000", ["4000", "2000"]),
    ("pretrain", "model.num_channels=1", ["2 channels", "model.num_channels=2"]),
    ("pretrain", "data.stems=bass,drums", ["data.stems = bass,drums", "MixIT"]),
    # Other weights.
    ("finetune", "init.run=nowhere", ["init.run", "nowhere", "does not exist"]),
  ],
)
def test_one_line_names_key_and_remedy(complaint, kind, override, words):
  line = complaint(kind, override)
  assert line.startswith("error: ")
  for word in words:
    assert word in line


def test_a_folder_that_is_no_run_is_no_start(complaint, tmp_path):
  line = complaint("finetune", f"init.run={tmp_path}")
  assert "init.run" in line
  assert "is not a run" in line


def test_a_run_without_a_checkpoint_is_no_start(complaint, music, tmp_path):
  claim_workdir(tmp_path / "empty", pretrain_config(music))
  line = complaint("finetune", f"init.run={tmp_path / 'empty'}")
  assert "init.run" in line
  assert "no checkpoint" in line


@pytest.fixture
def pretended(music, tmp_path):
  """A run with a checkpoint of which only the name is there."""

  def make(config):
    claim_workdir(tmp_path / "other", config)
    (tmp_path / "other" / "checkpoints" / "8").mkdir(parents=True)
    return f"init.run={tmp_path / 'other'}"

  return make


@pytest.mark.parametrize(
  ("overrides", "words"),
  [
    (["init.weights=ema"], ["running mean", "optimizer.ema"]),
    (["init.weights=7"], ["7", "steps 8"]),
    (["model.embed_dim=16"], ["model.embed_dim: 8 there, 16 here"]),
  ],
)
def test_weights_that_do_not_serve_are_refused_unread(
  complaint, pretended, music, overrides, words
):
  line = complaint("finetune", pretended(pretrain_config(music)), *overrides)
  for word in words:
    assert word in line


def test_fewer_outputs_than_wanted_are_refused_unread(complaint, pretended, music):
  line = complaint("pretrain", pretended(finetune_config(music)))
  assert "has 4 outputs but model.num_sources = 6" in line


def test_stems_in_another_order_are_refused_unread(complaint, pretended, music):
  line = complaint(
    "finetune",
    pretended(finetune_config(music).changed(data={"stems": STEMS})),
    "data.stems=('drums','bass','vocals','other')",
  )
  assert "give them in the same order" in line


def test_a_run_of_another_configuration_is_left_alone(complaint, music, tmp_path):
  claim_workdir(tmp_path / "run", pretrain_config(music))
  line = complaint("pretrain", "optimizer.clip_norm=1.0")
  assert "optimizer.clip_norm: 5.0 -> 1.0" in line
  assert "run.allow_changes" in line


def test_a_workdir_that_is_a_file_is_left_alone(complaint, tmp_path):
  (tmp_path / "file").write_text("kept")
  assert "is a file" in complaint("pretrain", workdir=tmp_path / "file")
  assert (tmp_path / "file").read_text() == "kept"


def test_songs_that_were_moved_away_are_missed_before_the_start(
  complaint, music, tmp_path
):
  shutil.copytree(music, tmp_path / "music")
  shutil.rmtree(tmp_path / "music" / "valid")
  line = complaint("finetune", f"data.shards={tmp_path / 'music'}")
  assert str(tmp_path / "music" / "valid") in line


def test_a_validation_song_that_cannot_be_used_is_named_before_the_start(
  complaint, music, tmp_path
):
  shutil.copytree(music, tmp_path / "music")
  song = tmp_path / "music/valid/song 7"
  write_audio(song / "drums.wav", stem_audio(1, 7, 1.2), RATE)
  line = complaint("finetune", f"data.shards={tmp_path / 'music'}")
  assert "song 7: expected files of equal length" in line
  (song / "drums.wav").write_bytes(b"RIFF")
  assert "drums.wav: " in complaint("finetune", f"data.shards={tmp_path / 'music'}")


def test_incomplete_variables_of_a_cluster_are_named(complaint, monkeypatch):
  monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
  line = complaint("pretrain", "mesh.distributed=auto")
  assert "JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID must be set" in line


@pytest.mark.parametrize(
  ("variables", "words"),
  [
    (
      {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""},
      ["JAX_PLATFORMS=cuda", "JAX_PLATFORMS=cpu"],
    ),
    ({"JAX_NUM_CPU_DEVICES": "0"}, ["cannot use the devices"]),
  ],
)
def test_devices_that_are_not_there_are_one_line(
  variables, words, config_file, tmp_path
):
  result = subprocess.run(
    [
      sys.executable,
      "-m",
      "mixit_jax.main",
      f"--config={config_file}:pretrain",
      f"--workdir={tmp_path / 'run'}",
    ],
    env={**os.environ, "XLA_FLAGS": "", **variables},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 1
  assert "Traceback" not in result.stderr
  (line,) = (x for x in result.stderr.splitlines() if x.startswith("error: "))
  for word in words:
    assert word in line
  assert not (tmp_path / "run").exists()


def test_compiling_would_have_been_noticed():
  _compiled.clear()
  jax.jit(lambda x: x + 1)(1.0)
  assert _compiled


def test_every_key_refuses_what_is_no_value(music):
  values = finetune_config(music).to_dict()
  for section, keys in values.items():
    for key, value in keys.items():
      wrong = [None, {}]
      if isinstance(value, (int, float)):
        wrong += ["1", float("nan"), float("inf"), [1]]
      for bad in wrong:
        changed = json.loads(json.dumps(values))
        changed[section][key] = bad
        with pytest.raises(UserError, match=rf"{section}\.{key}"):
          Config.from_dict(changed)
