"""Checks, and the one line that each of them prints."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from mixit_jax.errors import UserError, one_line

# A longer reason would fill the screen: XLA's go on for pages.
_LONGEST = 400


class Check(NamedTuple):
  """Something that is right or wrong.

  Attributes:
    name: what is looked at.
    find: returns what was found; raises where it is wrong, a `UserError` with what
      to do.
  """

  name: str
  find: Callable[[], str]


def run_checks(checks: Iterable[Check], echo: Callable[[str], None]) -> None:
  """Run every check, whatever became of those before, and print a line for each.

  Raises:
    UserError: at least one has failed.
  """
  count = failed = 0
  for check in checks:
    count += 1
    try:
      line = f"ok      {check.name}: {check.find()}"
    except UserError as error:
      line = f"FAILED  {check.name}: {one_line(error)}"
    except Exception as error:  # broken libraries and drivers raise every kind
      reason = f"{type(error).__name__}: {one_line(error)}"
      line = f"FAILED  {check.name}: {reason[:_LONGEST]}"
    failed += line.startswith("FAILED")
    echo(line)
  if failed:
    raise UserError(f"{failed} of {count} checks failed")
