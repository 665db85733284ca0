"""The command for accelerators, its cases, and the processes that they run in."""

import json
import os
import time

import numpy as np
import pytest

from benchmarks import accelerator, contests, correctness
from benchmarks.apart import Case, run_apart

GOOD = Case("good", "json:loads", {"s": '{"rows": [{"speed": 1}]}'})
BAD = Case("bad", "json:loads", {"s": "no"})
DEAD = Case("dead", "os:_exit", {"status": 3})
ENDLESS = Case("endless", "signal:pause", {})
FACTS = {"platform": "gpu", "device": "A Card", "devices": 1, "date": "2026-11-29"}


def test_a_case_that_fails_or_dies_takes_no_other_with_it():
  cases = [GOOD, BAD, DEAD, GOOD._replace(name="last")]
  found = {c.name: result for c, result in run_apart(cases, time.monotonic() + 300)}
  assert list(found) == ["good", "bad", "dead", "last"]
  assert found["good"]["rows"] == found["last"]["rows"] == [{"speed": 1}]
  assert found["bad"]["problem"].startswith("JSONDecodeError: ")
  assert found["dead"]["problem"] == "the process ended with 3"
  assert all(result["seconds"] >= 0 for result in found.values())


def test_what_hangs_is_ended_at_the_deadline():
  begun = time.monotonic()
  cases = [GOOD, ENDLESS, GOOD._replace(name="late")]
  names = [case.name for case, _ in run_apart(cases, begun + 10)]
  assert names == ["good"]
  assert time.monotonic() - begun < 60


@pytest.fixture
def command(monkeypatch, tmp_path):
  """The command with cases of our own, and what it stores."""
  cases = [GOOD, BAD, GOOD._replace(name="other")]
  monkeypatch.setattr(accelerator, "facts_of_devices", lambda: FACTS)
  monkeypatch.setattr(accelerator, "plan", lambda platform, tiny: cases)
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.devnull)
  file = tmp_path / "accelerator-a-card.json"

  def run(*arguments):
    status = accelerator.main([f"--out={tmp_path}", *arguments])
    return status, json.loads(file.read_text())["cases"]

  return run


def test_a_second_call_goes_on_with_what_is_missing(command, capsys):
  status, first = command("--only=good")
  assert status == 0
  assert list(first) == ["good"]
  status, second = command()
  assert status == 1
  assert list(second) == ["good", "bad", "other"]
  assert second["good"] == first["good"]
  assert "failed: bad" in capsys.readouterr().out
  # What failed is tried again, what was found is not.
  command()
  assert "1 cases" in capsys.readouterr().out


def test_no_time_leaves_what_is_stored_and_names_the_rest(command, capsys):
  _, first = command("--only=good")
  capsys.readouterr()
  assert command("--minutes=0") == (0, first)
  assert "no time was left for: bad, other" in capsys.readouterr().out


def test_a_damaged_file_of_results_is_named(command, tmp_path, capsys):
  file = tmp_path / "accelerator-a-card.json"
  file.write_text("[")
  assert accelerator.main([f"--out={tmp_path}"]) == 1
  assert f"{file} is damaged" in capsys.readouterr().err
  assert file.read_text() == "["


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_every_case_has_a_name_and_a_function(platform):
  cases = list(accelerator.plan(platform, tiny=False))
  assert len({case.name for case in cases}) == len(cases)
  modules = {"correctness": correctness, "contests": contests}
  for case in cases:
    module, _, function = case.function.partition(":")
    if owner := modules.get(module.removeprefix("benchmarks.")):
      assert callable(getattr(owner, function))


@pytest.mark.parametrize(
  "name",
  [
    "products",
    pytest.param("step pretrain small", marks=pytest.mark.slow),
    "attention medium",
    "convolution medium",
    "separation small",
    "transfer small",
    pytest.param("inputs small", marks=pytest.mark.slow),
    "objective medium",
  ],
)
def test_contests_run_on_several_devices(name):
  (case,) = (c for c in accelerator.plan("cpu", tiny=True) if c.name == name)
  function = getattr(contests, case.function.partition(":")[2])
  rows = function(**case.arguments)["rows"]
  assert rows
  for row in rows:
    assert row.get("median_seconds", row.get("seconds_per_step")) > 0
  if name.startswith("step"):
    assert rows[0]["devices"] == "8 x cpu"
    assert rows[0]["steps_per_second"] == pytest.approx(
      1 / rows[0]["median_seconds"], abs=1e-3
    )


@pytest.mark.parametrize("name", ["attention", "convolution"])
def test_operations_equal_their_definitions(name):
  assert correctness.check(name, small=True)["passed"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["precision", "step", "restart"])
def test_devices_compute_the_same(name):
  result = correctness.check(name)
  assert result["rows"]
  assert result["passed"], result["rows"]


def test_an_error_beyond_its_tolerance_is_told(monkeypatch):
  errors = (np.int64(1), float("nan"))
  rows = [correctness.Row("stage", error, "", 2.0) for error in errors]
  monkeypatch.setitem(correctness.CHECKS, "step", lambda: iter(rows))
  result = json.loads(json.dumps(correctness.check("step")))
  assert [row["passed"] for row in result["rows"]] == [True, False]
  assert not result["passed"]
