"""What decoders print, kept off the terminal."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0  # threads that decode now
_saved = -1  # copy of descriptor 2 meanwhile


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Discard what C libraries write to descriptor 2: mpg123 comments on every fault.

  Only where Python's own stderr is another descriptor, as in the commands: else its
  lines would be lost as well.
  """
  try:
    own = sys.stderr.fileno() != 2
  except (AttributeError, OSError, ValueError):  # none, or not a real file
    own = False
  if not own:
    yield
    return
  with silent():
    yield


@contextlib.contextmanager
def silent() -> Iterator[None]:
  """Discard what anybody writes to descriptor 2; blocks of several threads overlap."""
  _enter()
  try:
    yield
  finally:
    _leave()


def _enter() -> None:
  global _inside, _saved
  with _lock:
    _inside += 1
    if _inside == 1:
      _saved = os.dup(2)
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, 2)
      os.close(nowhere)


def _leave() -> None:
  global _inside
  with _lock:
    _inside -= 1
    if _inside == 0:
      os.dup2(_saved, 2)
      os.close(_saved)
