"""What all commands of the package share: log lines, one-line errors, exit status."""

import logging
import sys
from collections.abc import Callable

from mixit_jax.errors import UserError


def run_command(command: Callable[[], None]) -> int:
  """Runs a command and returns its exit status.

  A problem that the user can mend is shown in one line, without a traceback.
  """
  logging.basicConfig(level=logging.INFO, format="%(message)s")
  # JAX tells of absent platforms, Orbax (through absl) of each save.
  logging.getLogger("jax").setLevel(logging.WARNING)
  logging.getLogger("absl").setLevel(logging.ERROR)
  try:
    command()
  except (UserError, OSError) as error:  # OSError: a folder that may not be written
    print(f"error: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    return 130
  return 0
