"""How far a preparation is: files, hours of audio, speed and time left."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

Result = TypeVar("Result")

_SECONDS_BETWEEN_LINES = 30.0


class Work(NamedTuple):
  """An amount of work that was done or is to be done.

  Attributes:
    files: audio files.
    size: their bytes; the time left is guessed from them.
    seconds: length of their audio, once it is known.
  """

  files: int = 0
  size: int = 0
  seconds: float = 0.0


def work_of(value: object) -> Work:
  """Return the work of an item or a result; nothing for those that state none."""
  found = value if isinstance(value, Work) else getattr(value, "work", None)
  return found if isinstance(found, Work) else Work()


class Progress:
  """A line about the progress: on a terminal always the same one, else now and then."""

  def __init__(self, label: str, items: Iterable[object]):
    """Count what is to be done.

    Args:
      label: what is being done.
      items: all of it.
    """
    works = [work_of(item) for item in items]
    self._label, self._items = label, len(works)
    self._files = sum(work.files for work in works)
    self._size = sum(work.size for work in works)
    self._done = Work()
    self._finished = 0
    self._begun = self._last = time.monotonic()
    self._live = sys.stderr.isatty()

  def follow(
    self, results: Iterable[tuple[int, Result]]
  ) -> Iterator[tuple[int, Result]]:
    """Pass results with the numbers of their items on, and tell how far they are."""
    for number, result in results:
      yield number, result
      self.add(work_of(result))
    if self._live and self._items:
      print(file=sys.stderr)

  def add(self, work: Work) -> None:
    """Count an item that is done; say so if it is time."""
    files, size, seconds = self._done
    self._done = Work(files + work.files, size + work.size, seconds + work.seconds)
    self._finished += 1
    now = time.monotonic()
    if not self._live and now - self._last < _SECONDS_BETWEEN_LINES:
      return
    self._last = now
    start, end = ("\r", "\x1b[K") if self._live else ("", "\n")
    line = self.line(now - self._begun)
    print(f"{start}{line}", file=sys.stderr, end=end, flush=True)

  def line(self, elapsed: float) -> str:
    """Describe the progress after some seconds."""
    parts = [f"{self._label}: {self._finished:,} of {self._items:,}"]
    if self._files:
      parts.append(f"{self._done.files:,} of {self._files:,} files")
    hours = self._done.seconds / 3600
    if hours and elapsed:
      parts.append(
        f"{_short(hours)} h of audio, {_short(hours / elapsed * 3600)} per hour"
      )
    share = self._done.size / self._size if self._size else self._finished / self._items
    if 0 < share < 1:
      parts.append(f"{_duration(elapsed / share - elapsed)} left")
    return "; ".join(parts)


def _short(value: float) -> str:
  return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _duration(seconds: float) -> str:
  """Round a time to a unit that is easy to grasp."""
  if seconds >= 36 * 3600:
    return f"{seconds / 86400:.1f} days"
  if seconds >= 5400:
    return f"{seconds / 3600:.1f} h"
  return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
