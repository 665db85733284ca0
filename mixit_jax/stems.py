"""Names of the stems of MUSDB18, in the order of the paper's models."""

import re
from collections.abc import Sequence

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
  return None
