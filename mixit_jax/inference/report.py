"""What a command shows while it separates: lines and a progress bar."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm


class TerminalReport:
  """Results go to stdout, what needs attention and the progress bar to stderr."""

  def say(self, text: str) -> None:
    """Show a line about a recording that is done."""
    tqdm.write(text, file=sys.stdout)

  def warn(self, text: str) -> None:
    """Show a line about what failed or needs attention."""
    tqdm.write(text, file=sys.stderr)

  @contextlib.contextmanager
  def progress(self, name: str, seconds: float) -> Iterator[Callable[[float], object]]:
    """Show a bar with the time left, on a terminal only."""
    with tqdm(
      total=seconds,
      desc=Path(name).name,
      disable=None,
      leave=False,
      bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left",
    ) as bar:
      yield bar.update
