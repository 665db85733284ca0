"""docs/results.md says what the files of experiments/small_scale/results hold."""

from pathlib import Path

import pytest

import experiments.small_scale
from experiments.small_scale.__main__ import find_grid
from experiments.small_scale.grid import read_grid
from experiments.small_scale.report import report
from experiments.small_scale.results import Results

FOLDER = Path(experiments.small_scale.__file__).parent
PAGE = FOLDER.parent.parent / "docs/results.md"
FILES = sorted((FOLDER / "results").glob("*.json"))


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def stored(request):
  """A grid and what is measured of it: GRID.json, or GRID-MUSIC.json of other music."""
  grid, _, _ = request.param.stem.partition("-")
  return read_grid(find_grid(grid)), Results(request.param)


def test_every_table_is_that_of_the_stored_results(stored):
  grid, results = stored
  page = PAGE.read_text("utf-8")
  blocks = report(grid, results.rows).split("\n\n")
  tables = [block for block in blocks if block.startswith("|")]
  assert tables
  for table in tables:
    assert table in page


def test_every_stored_row_is_a_cell_of_the_grid(stored):
  grid, results = stored
  tasks = {task.name: task for task in grid.tasks}
  assert all(results.has(tasks[name]) for name in results.rows)
