import threading

import pytest

from experiments.small_scale.__main__ import GRIDS, choose, find_grid
from experiments.small_scale.grid import Finetune, Pretrain, read_grid
from experiments.small_scale.results import Results
from experiments.small_scale.schedule import run_tasks
from experiments.small_scale.training import get_config
from mixit_jax.errors import UserError

TINY = """
[songs]
sample-rate = 8000
[unlabeled]
sample-rate = 8000
[shards]
seconds = 6
[arms.scratch]
[arms.pretrained]
from = "main"
against = "scratch"
"optimizer.peak_rate" = 1e-3
[pretrain.main]
size = "tiny"
mixes = 4
steps = 2
[finetune]
"run.steps" = 3
[[cells]]
size = "tiny"
songs = [1, 2]
seeds = [0]
arms = ["scratch", "pretrained"]
[[cells]]
pretrain = "main"
weights = [2]
pairs = ["aligned"]
count = 2
seconds = 2
[[tables]]
title = "Both"
size = "tiny"
arms = ["scratch", "pretrained"]
"""


@pytest.fixture
def grid(tmp_path):
  file = tmp_path / "tiny.toml"
  file.write_text(TINY)
  return read_grid(file)


def test_tasks_come_after_what_they_need(grid):
  names = [task.name for task in grid.tasks]
  assert len(set(names)) == len(names)
  for number, task in enumerate(grid.tasks):
    assert set(task.needs) <= set(names[:number])
  assert names[-1] == "splitting-main-2-aligned"


def test_labeled_songs_may_lie_deeper_in_what_the_command_makes(grid, tmp_path):
  assert grid.songs == "songs"
  file = tmp_path / "deeper.toml"
  file.write_text(TINY.replace("[songs]", '[songs]\nfolder = "guitar"', 1))
  deeper = read_grid(file)
  assert deeper.songs == "songs/guitar"
  assert deeper.tasks[0].flags == {"sample-rate": 8000}  # of the command


def test_arms_change_the_configuration(grid):
  tasks = {task.name: task for task in grid.tasks}
  assert tasks["tiny-scratch-1-0"].config == {"run.steps": 3}
  changed = tasks["tiny-pretrained-2-0"]
  assert changed.config == {"run.steps": 3, "optimizer.peak_rate": 1e-3}
  assert changed.start == "main"


def test_cells_change_the_configuration_further(tmp_path):
  file = tmp_path / "longer.toml"
  cell = 'songs = [8]\nseeds = [0]\narms = ["pretrained"]\n"run.steps" = 9\n'
  file.write_text(
    TINY.replace("[[tables]]", f'[[cells]]\nsize = "tiny"\n{cell}[[tables]]')
  )
  tasks = {task.name: task for task in read_grid(file).tasks}
  longer = tasks["tiny-pretrained-8-0"].config
  assert longer == {"run.steps": 9, "optimizer.peak_rate": 1e-3}
  assert tasks["tiny-pretrained-1-0"].config["run.steps"] == 3


def test_an_arm_can_be_like_another(tmp_path):
  file = tmp_path / "like.toml"
  arm = '[arms.slow]\nlike = "pretrained"\nagainst = "pretrained"\n"run.steps" = 9\n'
  cells = TINY.replace('"scratch", "pretrained"', '"slow", "pretrained"')
  file.write_text(cells.replace("[pretrain.main]", f"{arm}[pretrain.main]"))
  grid = read_grid(file)
  slow = next(task for task in grid.tasks if task.name == "tiny-slow-1-0")
  assert slow.config == {"run.steps": 9, "optimizer.peak_rate": 1e-3}
  assert slow.start == "main"
  assert grid.against == {"pretrained": "scratch", "slow": "pretrained"}


def test_pre_trainings_have_keys_in_common(tmp_path):
  file = tmp_path / "common.toml"
  common = '[pretrain]\nmixes = 9\nsteps = 5\n"run.batch" = 2\n"data.seconds" = 1.5\n'
  own = '[pretrain.main]\n"run.batch" = 3\n'
  file.write_text(
    TINY.replace("[pretrain.main]", common + own).replace("steps = 2\n", "steps = 6\n")
  )
  (main,) = (task for task in read_grid(file).tasks if isinstance(task, Pretrain))
  assert main.mixes == "mixes-4"
  assert main.config == {"run.steps": 6, "run.batch": 3, "data.seconds": 1.5}


@pytest.mark.parametrize("file", sorted(GRIDS.glob("*.toml")), ids=lambda f: f.stem)
def test_the_grids_of_the_project_can_be_read(file):
  """Each key is one of a training's, with a value that it may have."""
  grid = read_grid(file)
  arms = {task.arm for task in grid.tasks if isinstance(task, Finetune)}
  for table in grid.tables:
    assert set(table.arms) <= arms
  assert set(grid.against) | set(grid.against.values()) <= arms
  for task in grid.tasks:
    if not isinstance(task, Finetune | Pretrain):
      continue
    stage = "finetune" if isinstance(task, Finetune) else "pretrain"
    changes = {"init": {"run": getattr(task, "start", "")}}
    for key, value in task.config.items():
      section, name = key.split(".")
      changes.setdefault(section, {})[name] = value
    get_config(f"{stage}-{task.size}").changed(**changes)


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ('size = "tiny"\nmixes', 'size = "huge"\nmixes', "size 'huge' is not one of"),
    ("[songs]", "[song]", "unknown key song"),
    ('from = "main"', 'from = "other"', "other is missing"),
    ('arms = ["scratch", "pretrained"]\n[[c', 'arms = ["no"]\n[[c', "no is missing"),
    ("[arms.scratch]", '[arms.scratch]\nlike = "later"', "later is missing"),
    ("mixes = 4", "", "mixes is missing"),
    ("mixes = 4", 'mixes = "many"', 'a number or "all"'),
    ("[songs]", "[songs", "not valid TOML"),
  ],
)
def test_mistakes_in_a_grid_are_named(tmp_path, old, new, message):
  file = tmp_path / "bad.toml"
  assert old in TINY
  file.write_text(TINY.replace(old, new, 1))
  with pytest.raises(UserError, match=message):
    read_grid(file)


def test_a_grid_that_is_not_there_is_named():
  with pytest.raises(UserError, match=r"nowhere cannot be read"):
    read_grid(find_grid("nowhere"))


def test_some_tasks_can_be_chosen_with_what_they_need(grid):
  chosen = [task.name for task in choose(grid.tasks, ["tiny-pretrained-1-*"])]
  needed = {"songs", "unlabeled", "mixes-4", "main", "labels-1-0"}
  assert set(chosen) == needed | {"tiny-pretrained-1-0"}
  with pytest.raises(UserError, match="no task has such a name"):
    choose(grid.tasks, ["tiny-nothing-*"])


class _Worker:
  """Notes what it does; some tasks fail."""

  def __init__(self, failing=()):
    self.stopping = threading.Event()
    self.done, self.failing = [], failing

  def do(self, task):
    if task.name in self.failing:
      raise UserError(f"{task.name} failed")
    self.done.append(task.name)
    return {"valid": []} if task.name.startswith(("tiny", "main")) else None


@pytest.mark.parametrize("workers", [1, 3])
def test_all_tasks_are_done_and_measured(grid, tmp_path, workers):
  worker, results = _Worker(), Results(tmp_path / "results.json")
  assert run_tasks(grid.tasks, worker, results, workers) == []
  done = {name: number for number, name in enumerate(worker.done)}
  assert set(done) == {task.name for task in grid.tasks}
  for task in grid.tasks:
    assert all(done[need] < done[task.name] for need in task.needs)
  again = Results(tmp_path / "results.json")
  assert set(again.rows) == {n for n in done if n.startswith(("tiny", "main"))}
  assert all(again.has(task) for task in grid.tasks if task.name in again.rows)


def test_a_failure_takes_along_only_what_needs_it(grid, tmp_path):
  worker = _Worker(failing=["main"])
  failed = run_tasks(grid.tasks, worker, Results(tmp_path / "r.json"), 2)
  assert failed[0] == "main failed"
  assert len(failed) == 4
  assert all("needs one that failed" in line for line in failed[1:])
  assert {"tiny-scratch-1-0", "tiny-scratch-2-0"} <= set(worker.done)


def test_rows_of_other_settings_are_not_taken_for_these(grid, tmp_path):
  results = Results(tmp_path / "results.json")
  task = next(task for task in grid.tasks if task.name == "tiny-scratch-1-0")
  results.add(task, {"songs": []})
  file = tmp_path / "other.toml"
  file.write_text(TINY.replace('"run.steps" = 3', '"run.steps" = 4'))
  other = next(t for t in read_grid(file).tasks if t.name == task.name)
  with pytest.raises(
    UserError, match=r"tiny-scratch-1-0 was measured with another con"
  ):
    Results(tmp_path / "results.json").has(other)


def test_damaged_results_are_never_overwritten(tmp_path):
  file = tmp_path / "results.json"
  file.write_text('{"format": 1, "rows": [')
  with pytest.raises(UserError, match="not valid JSON"):
    Results(file)
  file.write_text('{"format": 99, "rows": []}')
  with pytest.raises(UserError, match="format 99"):
    Results(file)
