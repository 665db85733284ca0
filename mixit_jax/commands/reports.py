"""What commands tell on the terminal."""

import sys
from collections.abc import Sequence

from mixit_jax.errors import UserError


def say(text: str) -> None:
  """Print a line of the result at once: the next one may take a minute."""
  print(text, flush=True)


def log(text: str) -> None:
  """Print a line about what happens."""
  print(text, file=sys.stderr, flush=True)


def end_with(failures: Sequence[str], total: int, what: str) -> None:
  """Raise a UserError where items failed; tell each again, on a line of its own."""
  if len(failures) > 1:
    for failure in failures:
      log(f"failed: {failure}")
  if failures:
    last = f": {failures[0]}" if len(failures) == 1 else ""
    raise UserError(f"{len(failures)} of {total} {what}{last}")
