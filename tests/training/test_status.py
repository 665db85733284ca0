"""How runs stand, as others see them."""

import json
import shutil

import pytest

from mixit_jax.cli import main
from mixit_jax.lock import FolderLock
from mixit_jax.training.status import read_metrics, run_status


def test_a_complete_run(pretrained):
  status = run_status(pretrained)
  assert (status["state"], status["step"], status["steps"]) == ("complete", 8, 8)
  assert status["saved"] == 8
  losses = json.loads((pretrained / "valid_losses.json").read_text())
  best = min(losses, key=losses.get)
  assert (status["best_step"], status["best_loss"]) == (int(best), losses[best])
  last = list(read_metrics(pretrained))[-1]
  assert status["last_sign"] <= last["time"]
  assert status["owner"] is None


def test_a_run_under_way_and_one_that_was_left(pretrained, tmp_path):
  run = shutil.copytree(pretrained, tmp_path / "run")
  for step in (8, 6):
    shutil.rmtree(run / "checkpoints" / str(step), ignore_errors=True)
  assert run_status(run)["state"] == "stopped"
  with FolderLock(run):
    status = run_status(run)
  assert status["state"] == "running"
  assert "process" in status["owner"]
  assert status["seconds_left"] is None or status["seconds_left"] >= 0


def test_a_line_that_is_being_written_is_left_out(pretrained, tmp_path):
  text = (pretrained / "metrics.jsonl").read_text()
  (tmp_path / "metrics.jsonl").write_text(text + '{"group": "tr')
  assert len(list(read_metrics(tmp_path))) == len(text.splitlines())


def test_the_command_shows_a_line_for_each_run(pretrained, finetuned, capsys):
  assert main(["status", str(pretrained), str(finetuned)]) == 0
  head, one, other = capsys.readouterr().out.splitlines()
  assert head.split()[:4] == ["run", "state", "step", "steps"]
  assert one.split()[:4] == [str(pretrained), "complete", "8", "8"]
  assert other.split()[0] == str(finetuned)
  assert main(["status", str(pretrained), "--json"]) == 0
  (status,) = json.loads(capsys.readouterr().out)
  assert status["state"] == "complete"


def test_what_is_no_run_is_one_line(tmp_path, capsys):
  assert main(["status", str(tmp_path)]) == 1
  assert "is not a run" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[1]\n", '{"step": 1}\n'])
def test_odd_metrics_are_no_error(tmp_path, content):
  (tmp_path / "metrics.jsonl").write_text(content)
  assert list(read_metrics(tmp_path)) == []
