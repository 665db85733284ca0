"""Configuration files and their overrides on a command line, with one-line errors."""

import ast
import dataclasses
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import ml_collections
from absl import flags
from ml_collections import config_flags

from mixit_jax.errors import UserError, one_line

# The files of `configs/`, as they travel with the package.
_CONFIGS = Path(__file__).parent / "configs"


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
  rest = list(_readable(rest, config)) if file else rest
  values = flags.FlagValues()
  for name in others:
    flags.DEFINE_string(name, None, name, values)
  try:
    config_flags.DEFINE_config_dict("config", config, "", values, sys_argv=rest)
    surplus = values(rest)[1:]
  except flags.Error as error:
    raise UserError(f"{_reason(error)}; see --help") from error
  except (
    AttributeError,
    IndexError,
    KeyError,
    SyntaxError,
    TypeError,
    ValueError,
  ) as error:
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
  import finetune`, whatever the current folder is, and what lies in the current folder.
  Where there is no folder `configs`, the files of the package stand in for it.

  Args:
    place: "FILE" or "FILE:ARGUMENT"; the argument is passed to `get_config`.

  Returns:
    nested plain values of the dataclass or `ConfigDict` that `get_config` returns.

  Raises:
    UserError: the file cannot be loaded, or raises an error.
  """
  name, argument = _split(place)
  path = _find_file(name)
  try:
    with _importable(path.parent.parent, Path.cwd()):
      get_config = _load_module(path).get_config
      config = get_config(argument) if argument else get_config()
  except UserError:
    raise
  except Exception as error:  # a user's file can raise anything
    remedy = ""
    if isinstance(error, ModuleNotFoundError):
      remedy = "; run from the root of the checkout, or add it to PYTHONPATH"
    raise UserError(
      f"configuration: {_line_of(error, path, name)}: {_reason(error)}{remedy}"
    ) from error
  if isinstance(config, ml_collections.ConfigDict):
    return config.to_dict()
  if not dataclasses.is_dataclass(config) or isinstance(config, type):
    raise UserError(
      f"configuration: {name}, line {get_config.__code__.co_firstlineno}: get_config "
      f"returns {type(config).__name__}; expected a Config or a ConfigDict"
    )
  return dataclasses.asdict(config)


def _split(place: str) -> tuple[str, str]:
  """Divide "FILE:ARGUMENT"; a path may hold colons itself."""
  found = re.fullmatch(r"(.+\.py)(?::(.*))?", place)
  if found:
    return found[1], found[2] or ""
  name, _, argument = place.partition(":")
  return name, argument


def _find_file(name: str) -> Path:
  """Find a configuration file, one of the package where there is none in `configs`."""
  path = Path(name)
  own = _CONFIGS / path.name
  if path.parent == Path("configs") and not path.parent.exists() and own.is_file():
    return own
  if not path.is_file():
    raise UserError(
      f"configuration: {name}: there is no such file; those of the package are in "
      f"{_CONFIGS}"
    )
  return path.absolute()


def _line_of(error: Exception, path: Path, name: str) -> str:
  """Say where in a configuration file an error came up."""
  lines = [
    frame.lineno
    for frame in traceback.extract_tb(error.__traceback__)
    if Path(frame.filename) == path
  ]
  if isinstance(error, SyntaxError) and error.filename == str(path):
    lines.append(error.lineno)
  return f"{name}, line {lines[-1]}" if lines else name


def _readable(
  arguments: Sequence[str], config: ml_collections.ConfigDict
) -> Iterator[str]:
  """Yield arguments as ml_collections reads them: lists as Python writes them.

  Raises:
    UserError: a key is written as no key can be.
  """
  listed = False  # whether this argument is the value of a list
  for argument in arguments:
    if not argument.startswith("--config."):
      yield _as_list(argument) if listed else argument
      listed = False
      continue
    key, equals, value = argument.removeprefix("--config.").partition("=")
    if "[" in key:
      raise UserError(
        f"--config.{key}: give the whole list, --config.{key.partition('[')[0]}=A,B"
      )
    if "-" in key:
      raise UserError(
        f"unknown key {key}; did you mean --config.{key.replace('-', '_')}?"
      )
    listed = isinstance(_value(config, key), list | tuple)
    if equals:
      yield f"--config.{key}={_as_list(value) if listed else value}"
      listed = False
    else:
      yield argument


def _value(config: Any, key: str) -> Any:
  for name in key.split("."):
    try:
      config = config[name]
    except (KeyError, TypeError, AttributeError):
      return None
  return config


def _as_list(text: str) -> str:
  """Read "a,b", with or without brackets, as the tuple ('a', 'b')."""
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    names = text.strip().strip("()[]").split(",")
    value = tuple(name.strip() for name in names if name.strip())
  return repr(tuple(value) if isinstance(value, list | tuple) else (value,))


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
def _importable(*roots: Path) -> Iterator[None]:
  # At the end: nothing beside a configuration file hides an installed package.
  added = [str(root) for root in roots]
  sys.path.extend(added)
  try:
    yield
  finally:
    for root in added:
      del sys.path[len(sys.path) - 1 - sys.path[::-1].index(root)]


def _reason(error: BaseException) -> str:
  """Return the message of an error without the text that ml_collections adds."""
  text = str(error).strip()
  near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
  if near:
    return f"unknown key {near[2]}; did you mean {near[1]}?"
  if isinstance(error, KeyError):
    return "unknown key " + text.strip("\"'")
  return text.splitlines()[-1] if "Traceback" in text else one_line(error)
