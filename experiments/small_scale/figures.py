"""Figures."""
from typing import Any
def draw_figures(grid: Any, rows: Any, folder: Any) -> None:
  """Nothing yet."""
