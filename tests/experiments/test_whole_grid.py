"""A grid of two cells, by its command, killed twice on its way."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.small_scale.__main__ import main

GRID = """
[songs]
sample-rate = 8000
train-songs = 2
valid-songs = 1
test-songs = 2
song-seconds = 9
mixes = 0
mp3-mixes = 0
[unlabeled]
sample-rate = 8000
train-songs = 0
valid-songs = 0
test-songs = 0
mixes = 8
mp3-mixes = 0
mix-seconds = 9
[shards]
sample-rate = 8000
seconds = 6
hop = 3
[arms.scratch]
[arms.pretrained]
from = "main"
against = "scratch"
[pretrain.main]
size = "tiny"
mixes = 8
steps = 4
"run.steps_per_epoch" = 2
"run.save_every" = 2
"valid.examples" = 4
[finetune]
"run.steps" = 2
"run.steps_per_epoch" = 1
[[cells]]
size = "tiny"
songs = [1]
seeds = [0]
arms = ["scratch", "pretrained"]
[[cells]]
pretrain = "main"
weights = [2, 4]
pairs = ["independent", "halves"]
count = 2
seconds = 2
[[tables]]
title = "Both"
size = "tiny"
arms = ["scratch", "pretrained"]
"""


def _start(out, grid):
  return subprocess.Popen(
    [sys.executable, "-m", "experiments.small_scale", f"--out={out}", f"--grid={grid}"],
    start_new_session=True,
    stderr=subprocess.PIPE,
    text=True,
  )


def _wait_for(process, condition):
  end = time.monotonic() + 600
  while not condition():
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < end
    time.sleep(0.05)


@pytest.mark.slow
def test_a_grid_survives_its_deaths_and_measures_everything(tmp_path):
  out, grid = tmp_path / "out", tmp_path / "grid.toml"
  grid.write_text(GRID)
  results = out / "results.json"

  # Killed with all its processes, while it pre-trains.
  with _start(out, grid) as process:
    _wait_for(process, (out / "main/run/metrics.jsonl").exists)
    os.killpg(process.pid, signal.SIGKILL)

  # Killed alone, after its first row: its commands live on, and are waited for.
  with _start(out, grid) as process:
    _wait_for(process, results.exists)
    process.kill()
  before = json.loads(results.read_text())["rows"]

  process = _start(out, grid)
  _, lines = process.communicate(timeout=1200)
  assert process.returncode == 0, lines
  rows = {row["task"]["name"]: row for row in json.loads(results.read_text())["rows"]}
  assert all(rows[row["task"]["name"]] == row for row in before)
  kinds = sorted(row["task"]["kind"] for row in rows.values())
  assert kinds == ["finetune"] * 2 + ["pretrain"] + ["splitting"] * 4
  assert [v[0] for v in rows["main"]["valid"]] == [2, 4]
  for arm in ("scratch", "pretrained"):
    row = rows[f"tiny-{arm}-1-0"]
    assert [song["name"] for song in row["songs"]] == ["song-01", "song-02"]
    assert all(
      set(s["usdr_mdx"]) == set(row["mixture"]) - {"average"} for s in row["songs"]
    )

  report = (out / "results.md").read_text()
  assert "| pretrained - scratch | 1 |" in report
  assert report.count("| main | ") == 5
  # Nothing is left to do, and the report follows from the results alone.
  (out / "results.md").unlink()
  assert main([f"--out={out}", f"--grid={grid}", "--report"]) == 0
  assert (out / "results.md").read_text() == report
  assert main([f"--out={out}", f"--grid={grid}"]) == 0
