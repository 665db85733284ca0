"""What a command shows while it works: lines and a progress bar."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm


class TerminalReport:
  """Results go to stdout, everything else to stderr.

  Args:
    quiet: show only what failed or needs attention.
  """

  def __init__(self, quiet: bool = False):
    self._quiet = quiet

  def say(self, text: str) -> None:
    """Show a line about a recording that is done."""
    if not self._quiet:
      tqdm.write(text, file=sys.stdout)

  def note(self, text: str) -> None:
    """Show a line about what goes on."""
    if not self._quiet:
      tqdm.write(text, file=sys.stderr)

  def warn(self, text: str) -> None:
    """Show a line about what failed or needs attention."""
    tqdm.write(text, file=sys.stderr)

  @contextlib.contextmanager
  def progress(self, name: str, seconds: float) -> Iterator[Callable[[float], object]]:
    """Show a bar with the time left, on a terminal only."""
    with tqdm(
      total=seconds,
      desc=Path(name).name,
      disable=self._quiet or None,  # None: unless on a terminal
      leave=False,
      bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left",
    ) as bar:
      yield bar.update
