"""What all commands of the package share: log lines, one-line errors, exit status."""

import contextlib
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mixit_jax.errors import UserError, one_line


def run_command(command: Callable[[], object], interrupted: str = "interrupted") -> int:
  """Run a command and return its exit status: 0, 1 for an error, 130 for Ctrl-C.

  A problem that the user can repair is shown in one line, without a traceback.

  Args:
    command: what to run.
    interrupted: what to say after Ctrl-C.
  """
  logging.basicConfig(level=logging.INFO, format="%(message)s")
  # JAX logs missing platforms, and Orbax (through absl) logs every save.
  logging.getLogger("jax").setLevel(logging.WARNING)
  _quiet_storage()
  warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
  try:
    command()
  except (UserError, OSError) as error:  # OSError: e.g. a folder that is not writable
    print(f"error: {one_line(error)}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print(interrupted, file=sys.stderr)
    return 130
  return 0


def write_any_text() -> None:
  """Let stdout and stderr replace what their encoding lacks, such as in ASCII."""
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="backslashreplace")


def expand_home(arguments: Sequence[str]) -> list[str]:
  """Expand `~` at the start of each argument or value of a flag, as a shell does."""

  def expanded(argument: str) -> str:
    match = re.match(r"(--[^=]+=)?(?=~)", argument)
    if match is None:
      return argument
    return match[0] + str(Path(argument[match.end() :]).expanduser())

  return [expanded(argument) for argument in arguments]


@contextlib.contextmanager
def ended_by_term() -> Iterator[None]:
  """Let SIGTERM end the block as Ctrl-C does, so that unfinished files are removed."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return

  def end(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)

  before = signal.signal(signal.SIGTERM, end)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def own_stderr() -> Iterator[None]:
  """Give Python's stderr a descriptor of its own: C libraries can be silenced."""
  before = sys.stderr
  try:
    descriptor = before.fileno()
  except (AttributeError, OSError, ValueError):
    descriptor = -1
  if descriptor != 2:
    yield
    return
  with os.fdopen(
    os.dup(2), "w", buffering=1, encoding=before.encoding, errors="backslashreplace"
  ) as sys.stderr:
    try:
      yield
    finally:
      sys.stderr = before


def _quiet_storage() -> None:
  """Silence Orbax and TensorStore about files that cannot be used.

  The command reports the error in one line. Orbax would log it several times with its
  traceback, and TensorStore prints a traceback for each array that was still loading.
  """
  for name in ("absl", "asyncio"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  hook = sys.unraisablehook

  def without_late_arrays(unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
      hook(unraisable)

  sys.unraisablehook = without_late_arrays
