"""Runs that die and are started again end with the bits of one that lived on."""

import json
import random
import shutil
import signal
import subprocess
import time

import pytest
from training.lives import Life, assert_same_end, live

from mixit_jax.console import STOPPED
from mixit_jax.weights.runs import checkpoint_steps, valid_losses

# No file may become larger than this many blocks: a disk that is full in a save.
FULL = ("sh", "-c", 'ulimit -f 300; exec "$@"', "sh")


@pytest.fixture(scope="module")
def uninterrupted(music, tmp_path_factory):
  """A run that lived on."""
  workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
  live(music, workdir)
  return workdir


def shortened(run, workdir, *steps):
  """A copy of a run with these of its checkpoints."""
  shutil.copytree(run, workdir)
  for step in set(checkpoint_steps(workdir)) - set(steps):
    shutil.rmtree(workdir / "checkpoints" / str(step))
  return workdir


def unfinished(workdir):
  return list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp"))


def kill_in_save(music, workdir, step):
  """One life that is killed while it saves; returns whether the save was hit."""
  with Life(music, workdir) as life:
    life.wait_for(life.saving(step))
    life.process.kill()
    life.process.wait()
  return bool(unfinished(workdir))


def kill_after_report(music, workdir, seconds):
  """One life that is killed some time after its first report."""
  with Life(music, workdir) as life:
    life.wait_for(life.said("train step"))
    try:
      life.process.wait(seconds)
    except subprocess.TimeoutExpired:
      life.process.kill()
    life.process.wait()


def test_kills_and_a_damaged_checkpoint_leave_the_same_bits(
  music, uninterrupted, tmp_path
):
  run = tmp_path / "run"
  hits = [kill_in_save(music, run, 2)]
  kill_after_report(music, run, random.Random(0).uniform(0, 1))
  hits.append(kill_in_save(music, run, 5))
  assert any(hits)
  with (run / "metrics.jsonl").open("a") as file:
    file.write('{"group": "train", "st')  # as a kill within a line leaves it
  newest = checkpoint_steps(run)[-1]
  (run / "checkpoints" / str(newest) / "state/manifest.ocdbt").write_bytes(b"")
  assert f"checkpoint {newest} in" in live(music, run)
  assert (run / "damaged_checkpoints" / str(newest)).is_dir()
  assert not unfinished(run)
  assert_same_end(run, uninterrupted)


@pytest.mark.slow
def test_twenty_kills_at_random_leave_the_same_bits(music, uninterrupted, tmp_path):
  run, draws, hits = tmp_path / "run", random.Random(1), 0
  for number in range(20):
    step = (checkpoint_steps(run) or [0])[-1] + draws.choice([1, 1, 2])
    if number < 18 and step <= 4 and draws.random() < 0.7:
      hits += kill_in_save(music, run, step)
    else:
      # Also before the first step, and within a validation.
      with Life(music, run) as life:
        life.wait_for((run / "config.json").exists)
        try:
          life.process.wait(draws.uniform(0, 12))
        except subprocess.TimeoutExpired:
          life.process.kill()
        life.process.wait()
  assert hits >= 3
  live(music, run)
  assert not unfinished(run)
  assert_same_end(run, uninterrupted)


def test_a_request_to_stop_saves_that_step_also_within_a_validation(
  music, uninterrupted, tmp_path
):
  run, rarely = tmp_path / "run", {"run.save_every": 100}
  with Life(music, run, overrides=rarely) as life:
    assert life.wait_for(life.said("train step 1:"))
    life.process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert "stopped at step" in life.wait(STOPPED)
    assert time.monotonic() - begun < 20
  (step,) = checkpoint_steps(run)
  assert step < 3
  with Life(music, run, overrides=rarely) as life:
    assert life.wait_for((run / "checkpoints" / "3").exists)
    life.process.send_signal(signal.SIGTERM)
    assert "stopped in a validation" in life.wait(STOPPED)
  assert (checkpoint_steps(run)[-1], valid_losses(run)) == (3, {})
  live(music, run)
  assert_same_end(run, uninterrupted)


def test_a_request_to_stop_ends_the_start_at_once(music, tmp_path):
  with Life(music, tmp_path / "run") as life:
    time.sleep(3)  # amid imports
    life.process.send_signal(signal.SIGTERM)
    assert "Traceback" not in life.wait(status=-signal.SIGTERM, seconds=30)


def test_a_request_to_stop_ends_a_compilation_at_once(music, tmp_path):
  run = tmp_path / "run"
  cold = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cold")}
  with Life(music, run, environment=cold) as life:
    assert life.wait_for((run / "tensorboard").exists)
    time.sleep(4)  # tracing, then minutes of compiling at full size
    life.process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    life.wait(status=-signal.SIGTERM)
    assert time.monotonic() - begun < 3
  assert checkpoint_steps(run) == []


def test_a_full_disk_ends_the_run_with_one_line_and_a_restart_goes_on(
  music, uninterrupted, tmp_path
):
  run = shortened(uninterrupted, tmp_path / "run", 3)
  for _ in range(2):
    said = live(music, run, status=1, prefix=FULL)
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    # The reason comes from whichever part of the save is refused first.
    assert f"could not be written to {run / 'checkpoints'} (" in line
    assert checkpoint_steps(run) == [3]
    assert len(unfinished(run)) <= 1
  live(music, run)
  assert not unfinished(run)
  assert_same_end(run, uninterrupted)


def test_a_disk_that_is_full_from_the_start_is_named(music, tmp_path):
  # Only the pipe takes what it says.
  full = ("sh", "-c", '(ulimit -f 0; exec "$@" 2>&1) | cat; exit 1', "sh")
  said = live(music, tmp_path / "run", status=1, prefix=full)
  assert said == f"error: {tmp_path}/run cannot be written: File too large\n"
  assert not (tmp_path / "run").exists()


def test_a_run_outlives_those_who_read_its_log(music, uninterrupted, tmp_path):
  # The reader has seen enough after one line.
  closed = (
    "sh",
    "-c",
    '{ "$@" 2>&1; echo $? >status; } | head -n 1; exit $(cat status)',
    "sh",
  )
  live(music, tmp_path / "run", prefix=closed)
  assert_same_end(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
  ("redirection", "switches"),
  [
    ("2>/dev/full", {"JAX_ENABLE_X64": "1"}),
    ("2>&-", {"JAX_NUMPY_DTYPE_PROMOTION": "strict"}),
  ],
)
def test_neither_a_lost_log_nor_switches_of_jax_change_a_bit(
  music, uninterrupted, tmp_path, redirection, switches
):
  lost = ("sh", "-c", f'exec "$@" {redirection}', "sh")
  live(music, tmp_path / "run", prefix=lost, environment=switches)
  assert_same_end(tmp_path / "run", uninterrupted)


def test_a_closed_terminal_saves_and_stops_but_not_under_nohup(
  music, uninterrupted, tmp_path
):
  run = tmp_path / "run"
  with Life(music, run) as life:
    assert life.wait_for(life.said("train step 1:"))
    life.process.send_signal(signal.SIGHUP)
    assert "stopped at step" in life.wait(STOPPED)
  with Life(music, run, prefix=("nohup",)) as life:
    assert life.wait_for(life.said("resuming"))
    assert life.wait_for(life.said("train step"))
    life.process.send_signal(signal.SIGHUP)
    life.wait()
  assert_same_end(run, uninterrupted)


def test_a_second_start_in_the_same_folder_is_refused(music, uninterrupted, tmp_path):
  run = tmp_path / "run"
  with Life(music, run) as first:
    assert first.wait_for(first.said("train step 1:"))
    first.process.send_signal(signal.SIGSTOP)  # however slow it is
    with Life(music, run, log="second") as second:
      said = second.wait(status=1)
    first.process.send_signal(signal.SIGCONT)
    first.wait()
  (line,) = said.splitlines()
  assert f"{run} is in use by process {first.process.pid} on " in line
  assert_same_end(run, uninterrupted)


@pytest.mark.slow
def test_a_kill_after_the_selection_of_channels_changes_nothing(
  music, pretrained, tmp_path
):
  options = {"kind": "stems", "overrides": {"init.run": pretrained, "run.steps": 2}}
  run, selection = tmp_path / "run", tmp_path / "run" / "channel_selection.json"
  with Life(music, run, **options) as life:
    assert life.wait_for(selection.exists)
    life.process.kill()
    life.process.wait()
  before = selection.read_text()
  assert checkpoint_steps(run) == []
  assert json.loads(before)["outputs"]
  live(music, run, **options)
  assert selection.read_text() == before
  live(music, tmp_path / "other", **options)
  assert_same_end(run, tmp_path / "other")
