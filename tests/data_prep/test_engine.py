import os
import signal
import sys
from pathlib import Path

import pytest

from data_prep import engine
from mixit_jax.errors import UserError


def _square(number):
  return number**2


def _die_once(job):
  """Kills its process the first time that it gets the third job."""
  number, marker = job
  if number == 2 and not marker.exists():
    marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)
  return number


def _complain(number):
  if number == 1:
    raise UserError("no ones")
  return number


@pytest.fixture
def no_dask(monkeypatch):
  for name in [name for name in sys.modules if name.split(".")[0] == "dask"]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.delitem(sys.modules, "data_prep.cluster", raising=False)
  monkeypatch.setitem(sys.modules, "dask", None)


def test_one_worker_works_without_dask(no_dask):
  assert engine.run(_square, [3, 1, 2], workers=1, label="x") == [9, 1, 4]


def test_no_items_need_no_worker(no_dask):
  assert engine.run(_square, [], workers=4, label="x") == []


def test_a_killed_worker_is_replaced_and_results_keep_their_order(tmp_path: Path):
  marker = tmp_path / "died"
  jobs = [(number, marker) for number in range(6)]
  assert engine.run(_die_once, jobs, workers=2, label="x") == list(range(6))
  assert marker.exists()


def test_an_error_of_the_function_reaches_the_caller():
  with pytest.raises(UserError, match="no ones"):
    engine.run(_complain, [0, 1, 2], workers=2, label="x")
