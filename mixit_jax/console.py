"""What all commands of the package share: log lines, one-line errors, exit status."""

import logging
import sys
from collections.abc import Callable
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
  try:
    command()
  except (UserError, OSError) as error:  # OSError: e.g. a folder that is not writable
    print(f"error: {one_line(error)}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print(interrupted, file=sys.stderr)
    return 130
  return 0


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
