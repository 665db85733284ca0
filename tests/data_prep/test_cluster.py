import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed.comm import CommClosedError

from data_prep import cluster, engine
from mixit_jax.errors import UserError

REPOSITORY = Path(engine.__file__).parent.parent


def _note(job):
  """Says which process did the job; that of the third one is killed, once."""
  number, folder = job
  marker = folder / "died"
  if number == 2 and not marker.exists():
    marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)
  (folder / f"{number}").write_text(str(os.getpid()))
  return number


def _die(job):
  os.kill(os.getpid(), signal.SIGKILL)
  return job


def _die_at_first(job):
  """Kills its worker the first time that it gets a job, if that is one of two."""
  number, folder = job
  marker = folder / f"{number} died"
  if number < 2 and not marker.exists():
    marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)
  return number


@pytest.fixture
def existing(tmp_path):
  """A scheduler and two workers, in processes of their own."""
  file = tmp_path / "scheduler.json"
  paths = f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"
  commands = [
    ["scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard"],
    *2 * [["worker", "--nthreads=1", "--no-nanny", "--no-dashboard"]],
  ]
  processes = [
    subprocess.Popen(
      [sys.executable, "-m", "dask", *command, f"--scheduler-file={file}"],
      env=os.environ | {"PYTHONPATH": paths},
      cwd=tmp_path,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    for command in commands
  ]
  try:
    while not file.exists():
      assert processes[0].poll() is None
      time.sleep(0.05)
    yield json.loads(file.read_text())["address"], processes[1:]
  finally:
    for process in processes:
      process.kill()
      process.wait()


def test_a_cluster_that_exists_is_used_and_one_of_its_workers_may_die(
  existing, tmp_path, monkeypatch
):
  address, workers = existing
  folder = tmp_path / "shared"
  folder.mkdir()
  jobs = [(number, folder) for number in range(8)]
  assert engine.run(_note, jobs, 1, "x", scheduler=address) == list(range(8))
  processes = {(folder / f"{number}").read_text() for number in range(8)}
  assert processes <= {str(worker.pid) for worker in workers}
  assert sorted(worker.poll() is None for worker in workers) == [False, True]
  # Nobody waits for ever once none is left.
  monkeypatch.setattr(cluster, "NO_WORKER_REMOTE", 2.0)
  for worker in workers:
    worker.kill()
    worker.wait()
  with pytest.raises(UserError, match=rf"--scheduler={address}: no worker for 2 s"):
    engine.run(_note, jobs, 1, "x", scheduler=address)


def test_an_address_without_a_scheduler_is_named(monkeypatch):
  monkeypatch.setattr(cluster, "CONNECTING", 1.0)
  with pytest.raises(
    UserError, match=r"--scheduler=tcp://127\.0\.0\.1:1: cannot be reached"
  ):
    engine.run(_note, [(0, Path())], 1, "x", scheduler="tcp://127.0.0.1:1")


def test_a_local_cluster_that_lost_all_workers_is_started_anew(tmp_path, monkeypatch):
  monkeypatch.setattr(cluster, "NO_WORKER_LOCAL", 3.0)
  monkeypatch.setattr(cluster, "LOST_WORKER", "1ms")  # so that none is replaced
  jobs = [(number, tmp_path) for number in range(4)]
  assert engine.run(_die_at_first, jobs, 2, "x") == list(range(4))
  assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
  ("part", "error"),
  [
    ("LocalCluster", RuntimeError("Nanny failed to start.")),
    ("Client", CommClosedError("Stream is closed")),
  ],
)
def test_a_worker_that_dies_while_a_local_cluster_starts_costs_that_start_only(
  tmp_path, monkeypatch, part, error
):
  start, starts = getattr(cluster, part), []

  def fail_at_first(*arguments, **options):
    starts.append(options)
    if len(starts) == 1:
      raise error  # as Dask says it
    return start(*arguments, **options)

  monkeypatch.setattr(cluster, part, fail_at_first)
  jobs = [(number, tmp_path) for number in range(2)]
  assert engine.run(_note, jobs, 2, "x") == [0, 1]
  assert len(starts) == 2


def test_an_item_that_kills_its_workers_is_named():
  with pytest.raises(UserError, match=r"^\d: its worker process died .*--workers"):
    engine.run(_die, [1, 2], 2, "x", max_crashes=1)
