"""HTML documents: files of this package filled with values, safe for any file name."""

import html
import json
import os
import string
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mixit_jax.errors import UserError

PAGE = "index.html"
# In every document, to know it again.
_MARK = '<meta name="generator" content="mixit_jax">'
_CODE = ("data", "body", "style", "script")


def fill(name: str, **values: str) -> str:
  """Return a document of this package with values.

  Args:
    name: of the file.
    values: texts, which are escaped; `data`, `body`, `style` and `script` are code.
  """
  safe = {
    key: value if key in _CODE else html.escape(shown(value))
    for key, value in values.items()
  }
  return string.Template(asset(name)).substitute(safe)


def asset(name: str) -> str:
  """Return the text of a file of this package."""
  return resources.files("mixit_jax.page").joinpath("assets", name).read_text("utf-8")


def shown(name: str | Path) -> str:
  """Return a file name as text, where bytes that are no UTF-8 are replaced."""
  return os.fsencode(name).decode("utf-8", "replace")


def link(path: str | Path) -> str:
  """Return a relative path as a URL."""
  return quote(os.fsencode(Path(path).as_posix()))


def script_safe(document: Mapping[str, Any]) -> str:
  """Return JSON that may stand between the tags of a script."""
  text = json.dumps(document, separators=(",", ":"))
  return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def check_page(folder: Path) -> None:
  """Raise a UserError where a page would replace a file that is something else."""
  page = folder / PAGE
  if page.exists() and not (page.is_file() and _is_ours(page)):
    raise UserError(
      f"{page} is there already and is no page of mixit_jax; move it or name another"
      " folder"
    )


def _is_ours(page: Path) -> bool:
  try:
    with page.open("rb") as file:
      return _MARK.encode() in file.read(4096)
  except OSError as error:
    raise UserError(f"{page} cannot be read: {error.strerror}") from error
