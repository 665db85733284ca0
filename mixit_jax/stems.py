"""Names of stems, and those of MUSDB18 in the order of the paper's models."""

import re
from collections.abc import Collection, Sequence

STEMS = ("bass", "drums", "vocals", "other")
MIXTURE = "mixture"

# Names become those of files: no separators, no hidden files, nothing unprintable.
_PLAIN = re.compile(r"\w[\w .+&()-]{0,99}")


def name_problem(names: Sequence[str]) -> str | None:
  """Say what is wrong with the names of stems, or return None."""
  for name in names:
    if not (isinstance(name, str) and _PLAIN.fullmatch(name) and name == name.strip()):
      return f"{name!r} is no plain name: use letters, digits, spaces and -_.+&()"
  if len({name.casefold() for name in names}) < len(names):
    return "the names of the stems must be different, also without regard to case"
  if MIXTURE in {name.casefold() for name in names}:
    return f"{MIXTURE!r} is the name of their sum, not of a stem"
  return None


def in_order(names: Collection[str]) -> tuple[str, ...]:
  """Order stems that nobody has ordered: MUSDB18's as the paper's, others by name."""
  return STEMS if set(names) == set(STEMS) else tuple(sorted(names))
