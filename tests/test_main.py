"""The command line of training, as a user meets it."""

import os
import subprocess
import sys

import pytest
from training.tiny import pretrain_config

from mixit_jax.training.workdir import claim_workdir


def run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "mixit_jax.main", *arguments],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "XLA_FLAGS": ""},
  )


def assert_one_line(result, *words):
  assert result.returncode == 1
  errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
  assert len(errors) == 1, result.stderr
  assert "Traceback" not in result.stderr
  for word in words:
    assert word in errors[0]


def test_help_is_short_and_exits_with_0():
  result = run("--help")
  assert result.returncode == 0
  assert "--workdir" in result.stdout


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ([], ["--config is missing"]),
    (["--config=configs/demo.py:pretrain"], ["--workdir is missing"]),
    (["--confg=x"], ["confg"]),
    (["--config=configs/missing.py", "--workdir=w"], ["configs/missing.py"]),
    (["--config=configs/pretrain.py:huge", "--workdir=w"], ["huge"]),
    (
      ["--config=configs/demo.py:pretrain", "--workdir=w", "--config.run.stesp=1"],
      ["stesp"],
    ),
    (
      ["--config=configs/demo.py:pretrain", "--workdir=w", "--config.run.batch=many"],
      ["batch"],
    ),
    (
      ["--config=configs/demo.py:pretrain", "--workdir=w", "--config.run.batch=0"],
      ["run.batch must be positive"],
    ),
    (["--config=configs/demo.py:pretrain", "--workdir=w"], ["data.shards"]),
    (
      [
        "--config=configs/demo.py:pretrain",
        "--workdir=w",
        "--config.data.shards=nowhere",
      ],
      ["nowhere"],
    ),
    (["--config=configs/demo.py:pretrain", "--workdir=w", "more"], ["more"]),
  ],
)
def test_mistakes_end_with_one_line(arguments, words, tmp_path):
  assert_one_line(run(*arguments), *words)


def test_a_run_directory_of_another_configuration_is_left_alone(music, tmp_path):
  claim_workdir(tmp_path, pretrain_config(music))
  before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
  result = run(
    "--config=configs/demo.py:pretrain",
    f"--workdir={tmp_path}",
    f"--config.data.shards={music}",
    "--config.model.sample_rate=2000",
    "--config.data.seconds=0.9",
  )
  assert_one_line(result, "another configuration", "model.embed_dim: 8 -> 32")
  assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
