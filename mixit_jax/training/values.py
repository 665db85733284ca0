"""Frozen dataclasses from plain values: every key and type checked, and compared."""

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from mixit_jax.errors import UserError


class ConfigError(UserError):
  """A configuration key or value that cannot be used."""


def require(condition: bool, message: str) -> None:
  """Raises ConfigError unless the condition holds."""
  if not condition:
    raise ConfigError(message)


def build(kind: type, values: Mapping[str, Any], section: str) -> Any:
  """One frozen dataclass from plain values, every key and type checked."""
  require(
    isinstance(values, Mapping),
    f"{section} must be a section of keys, found {values!r}",
  )
  hints = typing.get_type_hints(kind)
  names = [field.name for field in dataclasses.fields(kind)]
  arguments = {}
  for name, value in values.items():
    require(name in names, unknown_key(name, names, f"{section}."))
    arguments[name] = _coerce(hints[name], value, f"{section}.{name}")
  missing = [
    field.name
    for field in dataclasses.fields(kind)
    if field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
    and field.name not in arguments
  ]
  require(not missing, f"{section} lacks the key {', '.join(missing)}")
  try:
    return kind(**arguments)
  except ConfigError:
    raise
  except UserError as error:
    # The model knows its keys, but not the section that holds them.
    raise ConfigError(f"{section}.{error}") from error


def unknown_key(name: str, known: Iterable[str], prefix: str) -> str:
  """Message on a key that does not exist, with its nearest neighbor."""
  known = list(known)
  near = difflib.get_close_matches(name, known, n=1)
  hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}"
  return f"unknown configuration key {prefix}{name}; {hint}"


def _coerce(hint: Any, value: Any, key: str) -> Any:
  """The value as its declared type; ints may stand for floats, lists for tuples."""
  origin = typing.get_origin(hint)
  if origin is Literal:
    choices = typing.get_args(hint)
    require(
      value in choices, f"{key} must be one of {', '.join(choices)}; found {value!r}"
    )
    return value
  if origin is tuple:
    require(
      isinstance(value, (list, tuple)),
      f"{key} must be a list of values, found {value!r}",
    )
    return tuple(_coerce(typing.get_args(hint)[0], item, key) for item in value)
  if hint is float and isinstance(value, int) and not isinstance(value, bool):
    value = float(value)
  if hint is float and isinstance(value, float):
    # NaN and infinity pass or spoil later comparisons.
    require(math.isfinite(value), f"{key} must be a finite number, found {value}")
  right = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
  require(right, f"{key} must be of type {hint.__name__}, found {value!r}")
  return value


def flatten(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
  """Pairs of dotted key and value of nested sections."""
  for name, value in values.items():
    if isinstance(value, Mapping):
      yield from ((f"{name}.{key}", item) for key, item in flatten(value))
    else:
      yield name, value


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple]:
  """Dotted keys whose values differ, each with the old and the new value."""
  before, after = dict(flatten(old)), dict(flatten(new))
  return {
    key: (before.get(key), after.get(key))
    for key in sorted(before.keys() | after.keys())
    if before.get(key) != after.get(key)
  }
