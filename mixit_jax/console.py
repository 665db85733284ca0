"""What all commands of the package share: log lines, one-line errors, exit status.

Nobody may be listening any more: a terminal is closed, `head` has seen enough, the disk
of a log file is full. That never ends a command. Lines that nobody can get are lost.
"""

import contextlib
import errno
import io
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

# Exit statuses. STOPPED: what was asked to stop has saved, and goes on when it is
# started again (EX_TEMPFAIL of sysexits.h).
DONE, FAILED, STOPPED, INTERRUPTED = 0, 1, 75, 130


def run_command(
  command: Callable[[], int | None], interrupted: str = "interrupted"
) -> int:
  """Run a command and return its exit status: 0, 1 for an error, 130 for Ctrl-C.

  A problem that the user can repair is shown in one line, without a traceback.

  Args:
    command: what to run; it may return a status of its own.
    interrupted: what to say after Ctrl-C.
  """
  write_any_text()
  with _lasting_streams() as (output, _):
    status = _run(command, interrupted)
    output.flush()
    if output.full and status == DONE:
      print("error: the output could not be written: disk full", file=sys.stderr)
      return FAILED
    return status


def _run(command: Callable[[], int | None], interrupted: str) -> int:
  logging.basicConfig(level=logging.INFO, format="%(message)s")
  # JAX logs missing platforms, and Orbax (through absl) logs every save.
  logging.getLogger("jax").setLevel(logging.WARNING)
  _quiet_storage()
  warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
  try:
    return command() or DONE
  except (UserError, OSError) as error:  # OSError: e.g. a folder that is not writable
    print(f"error: {one_line(error)}", file=sys.stderr)
    return FAILED
  except KeyboardInterrupt:
    print(interrupted, file=sys.stderr)
    return INTERRUPTED


class _LastingStream:
  """A stream whose lines are lost where they cannot be written."""

  def __init__(self, stream: Any):
    self._stream = stream
    self.full = False  # whether lines were lost for want of space

  def write(self, text: str) -> int:
    self._attempt(lambda: self._stream.write(text))
    return len(text)

  def flush(self) -> None:
    self._attempt(self._stream.flush)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def _attempt(self, action: Callable[[], object]) -> None:
    try:
      action()
    except (OSError, ValueError) as error:  # ValueError: the stream is closed
      if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        self.full = True
      else:
        self.abandon()

  def end(self) -> None:
    """Flush; what even now cannot be written is no error of the interpreter's end."""
    try:
      self._stream.flush()
    except (OSError, ValueError):
      self.abandon()

  def abandon(self) -> None:
    """Let everything that is still written vanish, also what libraries write."""
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, self._stream.fileno())
      os.close(nowhere)


@contextlib.contextmanager
def _lasting_streams() -> Iterator[list[_LastingStream]]:
  # A file that is opened later must not get the number of a closed standard stream.
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
  streams = sys.stdout, sys.stderr
  lasting = [_LastingStream(s if s is not None else _nowhere()) for s in streams]
  sys.stdout, sys.stderr = lasting
  try:
    yield lasting
  finally:
    sys.stdout, sys.stderr = streams
    for stream in lasting:
      stream.end()


def _nowhere() -> Any:
  return open(os.devnull, "w")  # noqa: PTH123 (lives as long as the process)


def write_any_text() -> None:
  """Let stdout and stderr replace what their encoding lacks, such as in ASCII."""
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="backslashreplace")


def expand_home(arguments: Sequence[str] | None) -> list[str]:
  """Expand `~` at the start of each argument or value of a flag, as a shell does.

  None stands for the command line.
  """

  def expanded(argument: str) -> str:
    match = re.match(r"(--[^=]+=)?(?=~)", argument)
    if match is None:
      return argument
    try:
      return match[0] + str(Path(argument[match.end() :]).expanduser())
    except RuntimeError:  # there is no such home
      return argument

  given = sys.argv[1:] if arguments is None else arguments
  return [expanded(argument) for argument in given]


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
