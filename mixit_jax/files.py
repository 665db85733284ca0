"""Files and folders that appear whole or not at all, and JSON documents."""

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixit_jax.errors import UserError, one_line


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Yield a hidden path beside `path` that replaces it at the end.

  A missing folder is created. After an error `path` is unchanged, and nothing is left
  beside it.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    yield temporary
    temporary.replace(path)
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
  """Write a JSON document atomically.

  Raises:
    UserError: the disk is full, or the folder is not writable.
  """
  # File names that are not UTF-8 hold surrogates, which become escapes of JSON.
  write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str, encoding: str = "utf-8") -> None:
  """Write a text atomically; what the encoding lacks becomes escapes.

  Raises:
    UserError: the disk is full, or the folder is not writable.
  """
  try:
    with replacing(path) as temporary:
      temporary.write_text(text, encoding, "backslashreplace")
  except OSError as error:
    raise UserError(f"{path} cannot be written: {error.strerror}") from error


def check_file_writable(path: Path) -> None:
  """Raise a UserError unless a file can be written; its folder is created."""
  if path.is_dir():
    raise UserError(f"{path} cannot be written: a folder has this name")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
      pass
  except OSError as error:
    raise UserError(f"{path} cannot be written: {error.strerror}") from error


def read_json(path: Path, remedy: str = "restore it") -> dict[str, Any]:
  """Read a JSON document that holds an object.

  Args:
    path: file of the document.
    remedy: what to do if it is damaged.

  Raises:
    UserError: the file is missing, is not JSON, or holds something else.
  """
  try:
    document = json.loads(path.read_text("utf-8"))
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error.strerror}") from error
  except ValueError as error:
    raise UserError(
      f"{path} is not valid JSON ({one_line(error)}); {remedy}"
    ) from error
  if not isinstance(document, dict):
    raise UserError(f"{path} does not hold a JSON object; {remedy}")
  return document


def nan_to_null(value: Any) -> Any:
  """Replace NaN and infinity, which JSON does not know, with None at any depth."""
  if isinstance(value, dict):
    return {key: nan_to_null(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [nan_to_null(item) for item in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def check_vacant(folder: Path) -> None:
  """Raise a UserError unless a folder is empty or does not exist yet."""
  if folder.resolve() == Path.cwd():
    raise UserError(f"--out={folder} is the current folder; name a new one")
  if folder.is_dir():
    if any(folder.iterdir()):
      raise UserError(f"--out={folder} already holds files; name a new or empty folder")
  elif folder.exists():
    raise UserError(f"--out={folder} is a file; name a new or empty folder")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
  """Yield a temporary folder beside `folder` that replaces it at the end.

  After an error nothing is left, and `folder` is unchanged. The caller makes sure that
  it is the only process that makes this folder.

  Raises:
    UserError: the folder already holds files, or cannot be written.
  """
  check_vacant(folder)
  target = folder.resolve()
  temporary = target.with_name(f".{target.name}.unfinished")
  try:
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    temporary.mkdir(parents=True)
    yield temporary
    temporary.replace(target)
  except OSError as error:
    raise UserError(f"{folder} cannot be written ({error})") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def sha256(file: Path) -> str:
  """Return the SHA-256 of a file's content as hexadecimal digits."""
  with file.open("rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()
