"""What devices send each other in a compiled program."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Bytes of XLA's types.
_SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
_SIZES |= {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8, "c64": 8}

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
_INSTRUCTION = re.compile(rf"= (.+?) ({_KINDS})(-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


class Array(NamedTuple):
  """An array in XLA's words: type "f32", and shape."""

  type: str
  shape: tuple[int, ...]

  @property
  def bytes(self) -> int:
    """Its size."""
    return _SIZES[self.type] * math.prod(self.shape)


class Collective(NamedTuple):
  """An instruction by which devices exchange arrays.

  Attributes:
    kind: "all-reduce", "all-gather", "reduce-scatter", "all-to-all" or
      "collective-permute".
    arrays: its results on one device.
  """

  kind: str
  arrays: tuple[Array, ...]

  @property
  def bytes(self) -> int:
    """Size of its results."""
    return sum(array.bytes for array in self.arrays)


def arrays(types: str) -> Iterator[Array]:
  """Find the arrays in the type of an instruction."""
  for name, shape in _ARRAY.findall(types):
    if name in _SIZES:
      yield Array(name, tuple(int(n) for n in shape.split(",") if n))


def collectives(program: str) -> Iterator[Collective]:
  """Find the collectives in the text of a compiled program.

  One in a loop counts once.
  """
  for match in _INSTRUCTION.finditer(program):
    types, kind, started = match.groups()
    found = list(arrays(types))
    if started and kind != "all-reduce":
      # Operands, results, and on some platforms contexts of type u32[].
      found = [array for array in found if array != Array("u32", ())]
      found = found[len(found) // 2 :]
    yield Collective(kind, tuple(found))


def seconds(found: Iterable[Collective], devices: int, bandwidth: float) -> float:
  """Estimate the time of collectives one after the other, by rings.

  Args:
    found: the collectives.
    devices: that exchange, all of them with each other.
    bandwidth: bytes that a device sends in a second.
  """
  share = (devices - 1) / devices
  # How often the result of each kind passes a link: a sum goes around twice, the parts
  # of a scattered one are the n-th of what travels.
  passes = {"all-reduce": 2 * share, "reduce-scatter": devices - 1}
  return sum(c.bytes * passes.get(c.kind, share) / bandwidth for c in found)
