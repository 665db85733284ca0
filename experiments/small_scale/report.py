"""Tables and figures, all from the rows of results.json."""
from pathlib import Path
from typing import Any
from collections.abc import Mapping

def write_report(rows: Mapping[str, dict[str, Any]], folder: Path) -> None:
  """TODO."""
