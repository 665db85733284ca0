"""What was measured: one JSON document with a row for each finished task."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.small_scale.grid import Task
from mixit_jax.errors import UserError
from mixit_jax.files import read_json, write_json

FORMAT = 1
_DECIMALS = 4


class Results:
  """The rows of a folder's results.json, which is always whole."""

  def __init__(self, file: Path):
    """Read the rows that are there.

    Raises:
      UserError: the file is damaged or of another format.
    """
    self.file = file
    self.rows: dict[str, dict[str, Any]] = {}
    self._lock = threading.Lock()
    if file.exists():
      document = read_json(file, "restore it, or move it away to measure all again")
      if document.get("format") != FORMAT:
        raise UserError(f"{file} has format {document.get('format')}, not {FORMAT}")
      self.rows = {row["task"]["name"]: row for row in document["rows"]}

  def has(self, task: Task) -> bool:
    """Tell whether a task has a row.

    Raises:
      UserError: it has one, for a task of the same name that was defined otherwise.
    """
    row = self.rows.get(task.name)
    if row is None:
      return False
    have, want = row["task"], _plain(task)
    differing = [key for key in want if have.get(key) != want[key]]
    if differing:
      raise UserError(
        f"{self.file}: {task.name} was measured with another"
        f" {' and '.join(differing)}; name another folder, or remove its row"
      )
    return True

  def add(self, task: Task, measured: Mapping[str, Any]) -> None:
    """Add a row, and write the file."""
    with self._lock:
      row = {"task": _plain(task), **_rounded(dict(measured))}
      self.rows[task.name] = row
      write_json(self.file, {"format": FORMAT, "rows": list(self.rows.values())})


def _rounded(value: Any) -> Any:
  """Round numbers at any depth: a ten-thousandth of a dB is fine enough."""
  if isinstance(value, dict):
    return {key: _rounded(item) for key, item in value.items()}
  if isinstance(value, list):
    return [_rounded(item) for item in value]
  return round(value, _DECIMALS) if isinstance(value, float) else value


def _plain(task: Task) -> dict[str, Any]:
  """Return what JSON would return of the task's definition."""
  return {
    key: list(value) if isinstance(value, tuple) else value
    for key, value in task.to_dict().items()
  }
