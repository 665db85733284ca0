"""Configuration files and their overrides on a command line, with one-line errors."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from mixit_jax.errors import UserError, one_line


def parse_flags(
  arguments: Sequence[str], others: Sequence[str] = ()
) -> flags.FlagValues:
  """Reads `--config`, its overrides and other flags, all of which must be there.

  Args:
    arguments: name of the program and its flags, as in `sys.argv`.
    others: names of further flags, whose values are text.

  Returns:
    The flags; `config` is an `ml_collections.ConfigDict`. With `--help` nothing is
    demanded.

  Raises:
    UserError: a flag or key is unknown or has an impossible value, or the
      configuration file cannot be loaded.
  """
  arguments = list(arguments)
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    "config", None, "configuration file", values, sys_argv=arguments
  )
  for name in others:
    flags.DEFINE_string(name, None, name, values)
  flags.DEFINE_bool("help", False, "show this help", values, short_name="h")
  try:
    with _importable(arguments):
      rest = values(arguments)
  except ModuleNotFoundError as error:
    raise UserError(
      f"configuration: {error}; start from the root of the checkout, or name it in "
      "PYTHONPATH"
    ) from error
  except flags.Error as error:
    raise UserError(f"{_reason(error)}; see --help") from error
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    raise UserError(f"configuration: {_reason(error)}") from error
  if values.help:
    return values
  if len(rest) > 1:
    raise UserError(f"unexpected argument {rest[1]}; see --help")
  for name in ("config", *others):
    if not values[name].value:
      raise UserError(f"--{name} is missing; see --help")
  return values


@contextmanager
def _importable(arguments: Sequence[str]) -> Iterator[None]:
  """Lets a configuration file import its neighbors, from whatever folder it is used.

  `from configs import finetune` in configs/table1.py finds the file beside it.
  """
  file = ""
  for flag, following in zip(arguments, [*arguments[1:], ""], strict=True):
    name, equals, value = flag.partition("=")
    if name.lstrip("-") == "config" and name != "config":
      file = (value if equals else following).partition(":")[0]
  root = str(Path(file).absolute().parent.parent)
  sys.path.insert(0, root)
  # ml_collections would load a file into the module of the one before.
  sys.modules.pop("config_config", None)
  try:
    yield
  finally:
    sys.path.remove(root)


def plain_values(config: Any) -> dict[str, Any]:
  """The configuration of `parse_flags` as nested plain values.

  Raises:
    UserError: the file cannot be read, which shows only now.
  """
  try:
    return config.to_dict()
  except OSError as error:
    raise UserError(f"configuration: {one_line(error.__cause__ or error)}") from error


def _reason(error: BaseException) -> str:
  """The message of an error without what ml_collections puts around it."""
  text = str(error).strip()
  near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
  if near:
    return f"unknown key {near[2]}; did you mean {near[1]}?"
  if isinstance(error, KeyError):
    return "unknown key " + text.strip("\"'")
  return text.splitlines()[-1] if "Traceback" in text else one_line(error)
