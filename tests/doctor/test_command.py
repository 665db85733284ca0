"""`mixit-jax doctor --config`, as a user meets it."""

from functools import cache
from pathlib import Path

import pytest

from mixit_jax import cli, main
from mixit_jax.devices import memory
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.doctor import forecast, requirements
from mixit_jax.training import fitting
from mixit_jax.training.objectives import make_objective

# ml_collections loads files in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIG = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from training.tiny import pretrain_config, finetune_config

def get_config(kind):
  make = pretrain_config if kind == "pretrain" else finetune_config
  return make("")
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
  file = tmp_path_factory.mktemp("config") / "tiny.py"
  file.write_text(CONFIG)
  return file


@cache
def compiled_once(config):
  mesh = make_mesh(config.mesh.fsdp)
  return forecast.compile_step(make_objective(config, mesh), mesh)


@pytest.fixture
def once(monkeypatch):
  """Compiles equal steps once for all tests of this file."""
  monkeypatch.setattr(
    requirements, "compile_step", lambda objective, *_: compiled_once(objective.config)
  )


def test_a_run_is_forecast_without_data(once, config_file, capsys):
  arguments = [f"--config={config_file}:finetune", "--config.run.batch=8"]
  assert cli.main(["doctor", *arguments, "--peak-tflops=0.5", "--utilization=40"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert [line.partition(":")[0] for line in lines] == [
    "ok      step compiles",
    "ok      memory of each device",
    "ok      operations",
    "ok      collectives",
    "ok      hours, assumed",
    "ok      hours, measured",
  ]
  assert "8 steps of 8 examples of 0.5 s on 8 x cpu (4x2)" in lines[0]
  assert "all-reduce" in lines[3]
  assert "at 40% of 500 GFLOP/s" in lines[4]
  assert "one example of 0.5 s for each device" in lines[5]


def test_the_peak_of_an_unknown_device_is_asked_for(
  once, config_file, monkeypatch, capsys
):
  monkeypatch.setattr(requirements, "_measured_line", lambda *_: "soon")
  assert cli.main(["doctor", "--config", f"{config_file}:finetune"]) == 0
  assert "a cpu is not known, --peak-tflops tells it" in capsys.readouterr().out


def test_a_run_that_does_not_fit_is_not_tried(once, config_file, monkeypatch, capsys):
  monkeypatch.setattr(memory, "offered", lambda devices: 2**20)
  assert cli.main(["doctor", f"--config={config_file}:finetune"]) == 1
  captured = capsys.readouterr()
  lines = captured.out.splitlines()
  assert lines[1].startswith("FAILED  memory of each device: ")
  assert "of 1.0 MiB" in lines[1]
  assert "does not fit, try mesh.fsdp=8" in lines[1]
  assert not any("measured" in line for line in lines)
  assert captured.err.splitlines() == ["error: 1 of 5 checks failed"]


def test_memory_that_is_gone_when_compiling_ends_the_forecast(
  config_file, monkeypatch, capsys
):
  def fail(*_):
    raise fitting.TooLargeError("too large")

  monkeypatch.setattr(requirements, "compile_step", fail)
  assert cli.main(["doctor", f"--config={config_file}:finetune"]) == 1
  assert capsys.readouterr().out.splitlines() == ["FAILED  step compiles: too large"]


@pytest.mark.parametrize(
  "override",
  [
    "run.bacth=8",
    "run.batch=many",
    "run.batch=12",
    "run.accumulation=3",
    "optimizer.peak_rate=nan",
    "mesh.fsdp=3",
    "model.remat=all",
    "model.bands=(8,8)",
  ],
)
def test_mistakes_are_the_lines_of_training(
  config_file, override, music, tmp_path, capsys
):
  flags = [f"--config={config_file}:pretrain", f"--config.{override}"]
  flags.append(f"--config.data.shards={music}")
  assert main.main(["main", *flags, f"--workdir={tmp_path}"]) == 1
  expected = capsys.readouterr().err
  assert cli.main(["doctor", *flags]) == 1
  captured = capsys.readouterr()
  assert captured.err == expected
  assert not captured.out


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--config=nowhere.py"], "nowhere.py"),
    (["--config.run.batch=8"], "--config.run.batch=8 needs --config"),
    (["--config=x.py", "--utilization=0"], "--utilization=0"),
    (["--utilization=101"], "--utilization=101"),
    (["--config=x.py", "--peak-tflops=-1"], "--peak-tflops=-1"),
    (["--config=FILE:finetune", "--config.init.run=nowhere"], "nowhere"),
    (["--config=FILE:finetune", "--workdir=w"], "workdir"),
    (["--config=FILE:finetune", "more"], "unexpected argument more"),
  ],
)
def test_other_mistakes_are_one_line(config_file, arguments, words, capsys):
  arguments = [argument.replace("FILE", str(config_file)) for argument in arguments]
  assert cli.main(["doctor", *arguments]) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ")
  assert words in line
