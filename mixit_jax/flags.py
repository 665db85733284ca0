"""Configuration files and their overrides on a command line, with one-line errors."""

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import ml_collections
from absl import flags
from ml_collections import config_flags

from mixit_jax.errors import UserError, one_line


class Flags(NamedTuple):
  """Contents of a command line.

  Attributes:
    config: the configuration with its overrides, as nested plain values.
    others: the other flags by their names.
  """

  config: dict[str, Any]
  others: dict[str, str]


def parse_flags(arguments: Sequence[str], others: Sequence[str] = ()) -> Flags:
  """Read `--config=FILE[:ARGUMENT]`, `--config.KEY=VALUE` and other flags.

  All of them except the overrides are required.

  Args:
    arguments: name of the program and its flags, as in `sys.argv`.
    others: names of further flags, whose values are text.

  Raises:
    UserError: a flag or key is unknown or has an impossible value, or the
      configuration file cannot be loaded.
  """
  file, rest = _take_file(arguments)
  config = ml_collections.ConfigDict(load_config(file) if file else {})
  values = flags.FlagValues()
  for name in others:
    flags.DEFINE_string(name, None, name, values)
  try:
    config_flags.DEFINE_config_dict("config", config, "", values, sys_argv=rest)
    surplus = values(rest)[1:]
  except flags.Error as error:
    raise UserError(f"{_reason(error)}; see --help") from error
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    if not file:
      raise UserError("--config is missing; see --help") from error
    raise UserError(f"configuration: {_reason(error)}") from error
  if surplus:
    raise UserError(f"unexpected argument {surplus[0]}; see --help")
  found = {name: values[name].value or "" for name in others}
  for name, value in {"config": file, **found}.items():
    if not value:
      raise UserError(f"--{name} is missing; see --help")
  return Flags(config.to_dict(), found)


def load_config(place: str) -> dict[str, Any]:
  """Load the values of a configuration from a file that has a function `get_config`.

  The file may import its neighbors, as configs/table1.py does with `from configs
  import finetune`, whatever the current folder is.

  Args:
    place: "FILE" or "FILE:ARGUMENT"; the argument is passed to `get_config`.

  Returns:
    nested plain values of the dataclass or `ConfigDict` that `get_config` returns.

  Raises:
    UserError: the file cannot be loaded, or raises an error.
  """
  name, _, argument = place.partition(":")
  path = Path(name).absolute()
  try:
    with _importable(path.parent.parent):
      get_config = _load_module(path).get_config
      config = get_config(argument) if argument else get_config()
      if isinstance(config, ml_collections.ConfigDict):
        return config.to_dict()
      return dataclasses.asdict(config)
  except UserError:
    raise
  except ModuleNotFoundError as error:
    raise UserError(
      f"configuration: {error}; run from the root of the checkout, or add it to "
      "PYTHONPATH"
    ) from error
  except OSError as error:
    raise UserError(f"configuration: {name}: {error.strerror}") from error
  except Exception as error:  # a user's file can raise anything
    raise UserError(f"configuration: {name}: {one_line(error)}") from error


def _take_file(arguments: Sequence[str]) -> tuple[str, list[str]]:
  """Separate `--config=FILE` or `--config FILE` from the other arguments."""
  rest, file = list(arguments), ""
  for index, argument in enumerate(arguments):
    name, equals, value = argument.partition("=")
    if name in ("--config", "-config"):
      end = index + (1 if equals else 2)
      file = value if equals else "".join(arguments[index + 1 : end])
      del rest[index:end]
      break
  return file, rest


def _load_module(path: Path) -> ModuleType:
  spec = importlib.util.spec_from_file_location("mixit_jax_config", path)
  if spec is None or spec.loader is None:
    raise UserError(f"configuration: {path} is not a Python file")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@contextmanager
def _importable(root: Path) -> Iterator[None]:
  sys.path.insert(0, str(root))
  try:
    yield
  finally:
    sys.path.remove(str(root))


def _reason(error: BaseException) -> str:
  """Return the message of an error without the text that ml_collections adds."""
  text = str(error).strip()
  near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
  if near:
    return f"unknown key {near[2]}; did you mean {near[1]}?"
  if isinstance(error, KeyError):
    return "unknown key " + text.strip("\"'")
  return text.splitlines()[-1] if "Traceback" in text else one_line(error)
