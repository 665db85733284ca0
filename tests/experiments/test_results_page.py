"""docs/results.md says what experiments/small_scale/results.json holds."""

from pathlib import Path

import pytest

import experiments.small_scale
from experiments.small_scale.__main__ import find_grid
from experiments.small_scale.grid import read_grid
from experiments.small_scale.report import report
from experiments.small_scale.results import Results

FOLDER = Path(experiments.small_scale.__file__).parent
PAGE = FOLDER.parent.parent / "docs/results.md"


@pytest.fixture(scope="module")
def rows():
  return Results(FOLDER / "results.json").rows


def test_every_table_is_that_of_the_stored_results(rows):
  page = PAGE.read_text("utf-8")
  tables = [
    block
    for block in report(read_grid(find_grid("rung1")), rows).split("\n\n")
    if block.startswith("|")
  ]
  assert tables
  for table in tables:
    assert table in page


def test_every_stored_row_is_a_cell_of_the_grid(rows):
  tasks = {task.name: task for task in read_grid(find_grid("rung1")).tasks}
  stored = Results(FOLDER / "results.json")
  assert all(stored.has(tasks[name]) for name in rows)
