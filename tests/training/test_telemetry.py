import json

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
