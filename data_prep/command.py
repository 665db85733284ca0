"""What the preparation commands share: flags, and their last message."""

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

from data_prep.engine import default_workers

Number = TypeVar("Number", int, float)


INTERRUPTED = "interrupted: run the same command again to resume"


def add_workers_flag(parser: argparse.ArgumentParser) -> None:
  """Add --workers."""
  parser.add_argument(
    "--workers",
    type=positive_int,
    default=default_workers(),
    help="worker processes; 1 needs no Dask (default: one per processor,"
    " here %(default)s); the result does not depend on it",
  )


def positive_int(text: str) -> int:
  """Read a flag that must be an integer above 0."""
  return _number(text, int, "a whole number above 0", lambda value: value > 0)


def natural(text: str) -> int:
  """Read a flag that must be an integer of 0 or more."""
  return _number(text, int, "a whole number, 0 or more", lambda value: value >= 0)


def positive_float(text: str) -> float:
  """Read a flag that must be a finite number above 0."""
  return _number(text, float, "a number above 0", lambda value: 0 < value < math.inf)


def share(text: str) -> float:
  """Read a flag that must lie in [0, 1)."""
  return _number(text, float, "a share from 0 to below 1", lambda value: 0 <= value < 1)


def _number(
  text: str, kind: type[Number], wanted: str, accept: Callable[[Number], bool]
) -> Number:
  value: Number | None
  try:
    value = kind(text)
  except ValueError:
    value = None
  if value is None or not accept(value):
    raise argparse.ArgumentTypeError(f"expected {wanted}, found {text!r}")
  return value
