"""Folders that come into being whole, or not at all."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mixit_jax.errors import UserError


def check_vacant(folder: Path) -> None:
  """Raises UserError unless a folder is empty or does not exist yet."""
  if folder.is_dir():
    if any(folder.iterdir()):
      raise UserError(f"--out={folder} holds files already; name a new or empty folder")
  elif folder.exists():
    raise UserError(f"--out={folder} is a file; name a new or empty folder")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
  """Gives a temporary folder beside `folder`, which becomes it at the end.

  After an error nothing is left, and `folder` is as it was.

  Raises:
    UserError: the folder holds files already, or cannot be written.
  """
  check_vacant(folder)
  target = folder.resolve()
  temporary = target.with_name(f".{target.name}.{os.getpid()}")
  try:
    temporary.mkdir(parents=True)
    yield temporary
    temporary.replace(target)
  except OSError as error:
    raise UserError(f"{folder} cannot be written ({error})") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def sha256(file: Path) -> str:
  """SHA-256 of a file's content, as hexadecimal digits."""
  with file.open("rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()
