"""Frozen dataclasses whose fields say what they mean and what they may be.

    @dataclass(frozen=True)
    class DataConfig(Checked):
      section = "data"
      seconds: float = setting("length of an example", 6.0, above=0)

Types and ranges are checked whenever an object is made. An unknown key is an error
that names its nearest neighbor.
"""

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from mixit_jax.errors import ConfigError

Kind = TypeVar("Kind", bound="Checked")


class Rules(NamedTuple):
  """What a field means and what it may be.

  Attributes:
    meaning: one sentence for `--help`.
    free: whether it may change when a run is started again.
    above: exclusive lower bound.
    least: inclusive lower bound.
    below: exclusive upper bound.
    most: inclusive upper bound.
  """

  meaning: str
  free: bool = False
  above: float = -math.inf
  least: float = -math.inf
  below: float = math.inf
  most: float = math.inf

  def problem(self, value: float) -> str | None:
    """Say what is wrong with a number, or return None."""
    if not math.isfinite(value):  # NaN passes every comparison
      return "must be a finite number"
    if self.above < value < self.below and self.least <= value <= self.most:
      return None
    if self.least == 0 and self.below == 1:
      return "must be in [0, 1)"
    if value <= self.above:
      return "must be positive" if self.above == 0 else f"must exceed {self.above:g}"
    if value < self.least:
      if self.least in (0, 1):
        return "must not be negative" if self.least == 0 else "must be positive"
      return f"must be at least {self.least:g}"
    bound = f"at most {self.most:g}" if value > self.most else f"below {self.below:g}"
    return f"must be {bound}"


def setting(meaning: str, default: Any = dataclasses.MISSING, **rules: Any) -> Any:
  """Declare a field of a `Checked` dataclass; for the rules see `Rules`."""
  return dataclasses.field(default=default, metadata={"rules": Rules(meaning, **rules)})


@dataclasses.dataclass(frozen=True)
class Checked:
  """Base class of the sections of a configuration.

  Attributes:
    section: name of the section, which prefixes its keys.

  Raises:
    ConfigError: a value has another type or is out of its range.
  """

  section: ClassVar[str] = ""

  def __post_init__(self) -> None:
    """Check every field; whole numbers may stand for floats, lists for tuples."""
    hints = typing.get_type_hints(type(self))
    for field in dataclasses.fields(self):
      key = f"{self.section}.{field.name}"
      value = _coerce(hints[field.name], getattr(self, field.name), key)
      if isinstance(value, int | float) and not isinstance(value, bool):
        problem = field.metadata["rules"].problem(value)
        require(problem is None, f"{key} {problem}, found {value:g}")
      object.__setattr__(self, field.name, value)


def require(condition: bool, message: str) -> None:
  """Raise a ConfigError unless the condition holds."""
  if not condition:
    raise ConfigError(message)


def build(kind: type[Kind], values: Any) -> Kind:
  """Make a section from plain values.

  Raises:
    ConfigError: a key is unknown or missing, or a value cannot be used.
  """
  section = kind.section
  require(
    isinstance(values, Mapping),
    f"{section} must be a section of keys, found {values!r}",
  )
  fields = {field.name: field for field in dataclasses.fields(kind)}
  for name in values:
    require(name in fields, unknown_key(name, fields, f"{section}."))
  missing = [
    name
    for name, field in fields.items()
    if field.default is dataclasses.MISSING and name not in values
  ]
  require(not missing, f"{section} lacks the key {', '.join(missing)}")
  return kind(**values)


def unknown_key(name: str, known: Iterable[str], prefix: str) -> str:
  """Say that a key does not exist, with its nearest neighbor."""
  known = list(known)
  near = difflib.get_close_matches(name, known, n=1)
  hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}"
  return f"unknown configuration key {prefix}{name}; {hint}"


def rules_of(kind: type[Checked]) -> Iterator[tuple[str, Rules]]:
  """Yield the dotted key and the rules of each field of a section."""
  for field in dataclasses.fields(kind):
    yield f"{kind.section}.{field.name}", field.metadata["rules"]


def flatten(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
  """Yield the dotted key and the value of every entry of nested sections."""
  for name, value in values.items():
    if isinstance(value, Mapping):
      yield from ((f"{name}.{key}", item) for key, item in flatten(value))
    else:
      yield name, value


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple]:
  """Return the dotted keys whose values differ, with the old and the new value."""
  before, after = dict(flatten(old)), dict(flatten(new))
  return {
    key: (before.get(key), after.get(key))
    for key in sorted(before.keys() | after.keys())
    if before.get(key) != after.get(key)
  }


def _coerce(hint: Any, value: Any, key: str) -> Any:
  """Convert a value to its declared type, or raise a ConfigError."""
  origin = typing.get_origin(hint)
  if origin is Literal:
    choices = typing.get_args(hint)
    if isinstance(value, bool) and "on" in choices:
      value = "on" if value else "off"
    require(
      value in choices, f"{key} must be one of {', '.join(choices)}; found {value!r}"
    )
    return value
  if origin is tuple:
    require(
      isinstance(value, list | tuple),
      f"{key} must be a list of values, found {value!r}",
    )
    return tuple(_coerce(typing.get_args(hint)[0], item, key) for item in value)
  if hint is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  right = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
  require(right, f"{key} must be of type {hint.__name__}, found {value!r}")
  return value
