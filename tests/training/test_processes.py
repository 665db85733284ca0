"""Two real processes against one: the same recipe, the same losses."""

import re
import shutil
import signal
import socket
from contextlib import ExitStack

import pytest
from training.lives import Life, live, reports

from mixit_jax.console import DONE, STOPPED
from mixit_jax.weights.runs import checkpoint_steps, valid_losses

BASE = {"valid.media": 0}


def free_port():
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return free.getsockname()[1]


def two_lives(music, workdir, stop=None, moment="train step 2:", **options):
  """Two processes of two devices each to their end; returns what each has said.

  Args:
    music: folder of the tiny data set.
    workdir: the run's directory.
    stop: numbers of the processes that get SIGTERM.
    moment: what the first process says before that.
    **options: see `Life`.
  """
  port = free_port()
  with ExitStack() as stack:
    lives = [
      stack.enter_context(
        Life(music, workdir, devices=2, cluster=(port, i), base=BASE, **options)
      )
      for i in range(2)
    ]
    if stop:
      assert lives[0].wait_for(lives[0].said(moment))
      for number in stop:
        lives[number].process.send_signal(signal.SIGTERM)
    return [life.wait(STOPPED if stop else DONE) for life in lives]


def stopped_at(said):
  return int(re.search(r"stopped at step (\d+)", said)[1])


def losses(run, group="train"):
  return {report["step"]: report["loss"] for report in reports(run, group)}


def assert_same_losses(run, reference):
  for group in ("train", "valid"):
    assert losses(run, group) == pytest.approx(losses(reference, group), abs=2e-3)
  assert valid_losses(run) == pytest.approx(valid_losses(reference), abs=2e-3)


# Every life compiles anew: JAX finds no program of several processes in its cache.
@pytest.mark.slow
def test_two_processes_stop_together_go_on_and_train_like_one(
  music, pretrained, tmp_path
):
  run = tmp_path / "run"
  said = two_lives(music, run, stop=[1])
  step = stopped_at(said[0])
  assert stopped_at(said[1]) == step < 8
  assert checkpoint_steps(run)[-1] == step
  two_lives(music, run)
  assert_same_losses(run, pretrained)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [[0], [0, 1]])
def test_two_processes_that_are_stopped_at_once_take_one_step(music, tmp_path, stop):
  run = tmp_path / "run"
  said = two_lives(music, run, stop=stop, moment="process 0 of 2")
  assert stopped_at(said[0]) == stopped_at(said[1]) <= 2
  assert checkpoint_steps(run) == [stopped_at(said[0])]


@pytest.mark.slow
def test_a_run_moves_from_two_processes_to_one_and_back(music, pretrained, tmp_path):
  run = tmp_path / "run"
  two_lives(music, run, stop=[0, 1])
  one = {**BASE, "run.steps": 6}
  assert "resuming" in live(music, run, devices=4, base=one)
  for step in set(checkpoint_steps(run)) - {4, 6}:
    shutil.rmtree(run / "checkpoints" / str(step))
  two_lives(music, run)
  assert losses(run) == pytest.approx(losses(pretrained), abs=2e-3)


@pytest.mark.slow
def test_two_processes_select_channels_and_finetune_like_one(
  music, pretrained, tmp_path
):
  options = {"kind": "stems", "overrides": {"init.run": pretrained, "run.steps": 4}}
  live(music, tmp_path / "one", devices=4, base=BASE, **options)
  two_lives(music, tmp_path / "two", **options)
  assert_same_losses(tmp_path / "two", tmp_path / "one")
  name = "channel_selection.json"
  assert (tmp_path / "two" / name).read_text() == (tmp_path / "one" / name).read_text()
