import json

import numpy as np
from training.tiny import pretrain_config

from mixit_jax.training.telemetry import Telemetry


def written(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [(line["group"], line["step"]) for line in map(json.loads, lines)]


def report(workdir, first, last, validated=True):
  telemetry = Telemetry(workdir, pretrain_config(""), first, validated)
  for step in range(first + 1, last + 1):
    telemetry.scalars("train", step, {"loss": 1.0})
    if step % 2 == 0:
      telemetry.scalars("valid", step, {"loss": 1.0})
  telemetry.close()


def test_a_restart_reports_no_step_twice(tmp_path):
  report(tmp_path, 0, 5)
  report(tmp_path, 3, 4)
  assert written(tmp_path) == [
    ("train", 1),
    ("train", 2),
    ("valid", 2),
    ("train", 3),
    ("train", 4),
    ("valid", 4),
  ]


def test_a_validation_that_is_repeated_is_not_reported_twice(tmp_path):
  report(tmp_path, 0, 2)
  report(tmp_path, 2, 2, validated=False)
  assert written(tmp_path) == [("train", 1), ("train", 2)]


def test_a_line_that_a_kill_has_torn_is_dropped(tmp_path):
  report(tmp_path, 0, 2)
  with (tmp_path / "metrics.jsonl").open("ab") as file:
    file.write(b'{"group": "train", "step": 1, "lo\xff')
  report(tmp_path, 2, 3)
  assert written(tmp_path) == [("train", 1), ("train", 2), ("valid", 2), ("train", 3)]


def test_a_restart_from_the_beginning_starts_a_new_file(tmp_path):
  report(tmp_path, 0, 3)
  report(tmp_path, 0, 1)
  assert written(tmp_path) == [("train", 1)]


def test_the_last_validation_is_on_the_disk_before_a_kill(tmp_path):
  telemetry = Telemetry(tmp_path, pretrain_config(""), 0)
  (file,) = (tmp_path / "tensorboard").iterdir()
  telemetry.scalars("valid", 4, {"loss": 1.0})
  content = file.read_bytes()  # nothing is closed
  assert b"valid/loss" in content
  telemetry.media("example_0/mixture", 8, np.zeros((2, 4000), np.float32))
  telemetry.scalars("valid", 8, {"loss": 0.5})
  assert b"example_0/mixture" in file.read_bytes()
  telemetry.close()


def test_a_full_disk_under_tensorboard_is_said_once_and_nothing_hangs(
  tmp_path, caplog, monkeypatch
):
  from tensorboardX.record_writer import RecordWriter

  def full(self, data):
    raise OSError(28, "No space left on device")

  telemetry = Telemetry(tmp_path, pretrain_config(""), 0)
  monkeypatch.setattr(RecordWriter, "write", full)
  for step in range(1, 100):
    telemetry.scalars("train", step, {"loss": 1.0})
  telemetry.close()
  assert caplog.text.count("metrics cannot be written") == 1
  assert len(written(tmp_path)) == 99


def test_a_closed_terminal_is_no_error(tmp_path, monkeypatch):
  class Closed:
    def write(self, text):
      raise OSError(5, "Input/output error")

    def isatty(self):
      return False

  monkeypatch.setattr("sys.stderr", Closed())
  report(tmp_path, 0, 1)
  assert written(tmp_path) == [("train", 1)]


def test_a_note_is_for_those_who_watch(tmp_path, capsys):
  telemetry = Telemetry(tmp_path, pretrain_config(""), 0)
  telemetry.scalars("train", 1, {"loss": 1.0}, "best 3 at 4")
  telemetry.close()
  assert "train step 1: loss 1, best 3 at 4\n" in capsys.readouterr().err
  assert "best" not in (tmp_path / "metrics.jsonl").read_text()
