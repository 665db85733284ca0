"""What a compiled training step spends where, for devices that need not be here.

    python -m benchmarks.compiled h100 --batch=16
    python -m benchmarks.compiled v5e:4x4

For GPUs it counts the bytes of operands and results of every instruction that runs; for
TPUs the cycles that the compiler estimates (none for kernels of Pallas), and what the
tiles of arrays hold beyond their values. Instructions in a loop count as often as it
runs. None of it is a time: all rank variants of a program.
"""

import argparse
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax

from configs import pretrain
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.devices.platforms import platform_of
from mixit_jax.devices.targets import describe
from mixit_jax.doctor.collectives import arrays
from mixit_jax.doctor.forecast import compile_step
from mixit_jax.training.objectives import make_objective

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_LIMIT = re.compile(r"constant\((\d+)\)")
_SOURCE = re.compile(r'op_name="([^"]+)"')
_TILED = re.compile(r"\b([a-z]+\d*\[[\d,]+\])\{([\d,]+):T\((\d+),(\d+)\)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# They move nothing.
_FREE = {"parameter", "tuple", "get-tuple-element", "constant", "bitcast"}
_FREE |= {"while", "conditional"}


class Instruction(NamedTuple):
  """A line of a program.

  Attributes:
    name: its name.
    types: of its result, in XLA's words.
    kind: what it does.
    operands: names of its operands.
    text: the whole line.
    trips: how often it runs.
  """

  name: str
  types: str
  kind: str
  operands: tuple[str, ...]
  text: str
  trips: int


def main() -> None:
  """Compile a step and print where it spends most."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("target", help="as of mixit-jax doctor --topology")
  parser.add_argument("--size", default="medium")
  parser.add_argument("--remat", default="dots")
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument("--convolution", default="convolution")
  parser.add_argument("--scan", default="auto", help="a loop over blocks: on or off")
  parser.add_argument("--top", type=int, default=20, help="instructions to print")
  options = parser.parse_args()
  jax.config.update("jax_platforms", "cpu")
  target = describe(options.target)
  mesh = make_mesh(devices=target.devices)
  config = pretrain.get_config(options.size).changed(
    model={
      "remat": options.remat,
      "scan_blocks": options.scan,
      "convolution": options.convolution,
    },
    run={"batch": options.batch},
  )
  begun = time.process_time()
  program = compile_step(make_objective(config, mesh), mesh, target)
  print(f"{time.process_time() - begun:.0f} CPU seconds to compile")
  print(f"peak memory {program.memory().total / 2**30:.2f} GiB")
  text = program.step.as_text() or ""
  costs = spent(text, platform_of(mesh) == "tpu")
  unit, scale = ("M cycles", 1e6) if platform_of(mesh) == "tpu" else ("GiB", 2**30)
  kinds: Counter[str] = Counter()
  for instruction, cost in costs:
    kinds[group(instruction)] += cost
  print(f"{kinds.total() / scale:.1f} {unit} in all")
  for kind, cost in kinds.most_common():
    print(f"{cost / scale:10.1f} {kind}")
  for instruction, cost in sorted(costs, key=lambda c: -c[1])[: options.top]:
    source = _SOURCE.search(instruction.text)
    where = source[1][-80:] if source else ""
    print(f"{cost / scale:10.2f} {instruction.name[:40]:40} {where}")
  if padded := padding(text):
    values = sum(kept for kept, _ in padded.values())
    total = values + sum(lost for _, lost in padded.values())
    print(f"padding {1 - values / total:.1%} of {total / 2**30:.1f} GiB of results")
    for shape, (kept, lost) in sorted(padded.items(), key=lambda c: -c[1][1])[:8]:
      print(f"{lost / 2**30:10.2f} of {(kept + lost) / 2**30:.2f} GiB {shape}")


def spent(text: str, cycles: bool) -> list[tuple[Instruction, int]]:
  """Return what each instruction of a compiled program costs in all its runs.

  Args:
    text: of the program.
    cycles: count the compiler's estimates, else the bytes of operands and results.
  """
  found = []
  for body in _running(text):
    types = {instruction.name: instruction.types for instruction in body}
    for instruction in body:
      if instruction.kind in _FREE:
        continue
      if cycles:
        estimate = _CYCLES.search(instruction.text)
        cost = int(estimate[1]) if estimate else 0
      else:
        cost = _traffic(instruction, types)
      found.append((instruction, instruction.trips * cost))
  return found


def padding(text: str) -> dict[str, tuple[int, int]]:
  """Count bytes of results in tiles by shape: of values, and of what fills tiles."""
  found: dict[str, tuple[int, int]] = {}
  for body in _running(text):
    for instruction in body:
      if instruction.kind in _FREE:
        continue
      for name, order, *tile in _TILED.findall(instruction.types):
        (array,) = arrays(name)
        minor = [int(axis) for axis in order.split(",")[:2]]
        lengths = [array.shape[axis] for axis in reversed(minor)]
        sizes = [int(n) for n in tile][-len(lengths) :]
        rounded = math.prod(-(-n // s) * s for n, s in zip(lengths, sizes, strict=True))
        values = array.bytes * instruction.trips
        filled = values * rounded // max(math.prod(lengths), 1)
        kept, lost = found.get(name, (0, 0))
        found[name] = kept + values, lost + filled - values
  return found


def group(instruction: Instruction) -> str:
  """Name what an instruction is there for, by its name and kind."""
  name, kind = instruction.name, instruction.kind
  if kind == "custom-call":
    target = re.search(r'custom_call_target="([^"]+)"', instruction.text)
    return target[1] if target else kind
  source = _SOURCE.search(instruction.text)
  if "u32[" in instruction.types and source and "vmap" in source[1]:
    return "random bits"
  if "dynamic_update" in name or "dynamic-update" in name:
    return "stacking"
  if "broadcast_fusion" in name:
    return "zeros"
  if kind == "fusion":
    return "fusions in loops" if instruction.trips > 1 else "fusions"
  return kind


def _running(text: str) -> Iterator[list[Instruction]]:
  """Yield the instructions of the entry and of every loop's body."""
  bodies: dict[str, list[tuple[str, ...]]] = {}
  entry = current = ""
  for line in text.splitlines():
    if not line.startswith(" ") and (head := _COMPUTATION.match(line)):
      current = head[2]
      bodies[current] = []
      entry = current if head[1] else entry
    elif current and (match := _INSTRUCTION.match(line)):
      bodies[current].append((*match.groups(), line))
  waiting = [(entry, 1)]
  while waiting:
    name, trips = waiting.pop()
    body = []
    for own, types, kind, rest, line in bodies[name]:
      operands = tuple(re.findall(r"%([\w.\-]+)", rest.split("), ")[0]))
      body.append(Instruction(own, types, kind, operands, line, trips))
      if kind == "while":
        times = _trips(line, bodies)
        waiting.append((_called("body", line), trips * times))
      elif kind == "conditional":
        waiting.append(
          (_called("(?:true_computation|branch_computations)", line), trips)
        )
    yield body


def _called(role: str, line: str) -> str:
  found = re.search(rf"\b{role}=\{{?%?([\w.\-]+)", line)
  if found is None:
    raise ValueError(f"no {role} in {line[:200]}")
  return found[1]


def _trips(line: str, bodies: Mapping[str, Sequence[tuple[str, ...]]]) -> int:
  """Read how often a loop runs: as stated, or what its condition compares with."""
  if known := _TRIPS.search(line):
    return int(known[1])
  condition = " ".join(row[-1] for row in bodies[_called("condition", line)])
  return max((int(limit) for limit in _LIMIT.findall(condition)), default=1)


def _traffic(instruction: Instruction, types: dict[str, str]) -> int:
  """Count the bytes of operands and results; of a loop's stacks, the part in use."""

  def part(text: str) -> int:
    found = list(arrays(text))
    stacked = (
      instruction.trips > 1 and found and found[0].shape[:1] == (instruction.trips,)
    )
    return sum(a.bytes for a in found) // (instruction.trips if stacked else 1)

  if group(instruction) == "stacking":
    return 2 * part(instruction.types)  # in place
  return part(instruction.types) + sum(
    part(types.get(name, "")) for name in instruction.operands
  )


if __name__ == "__main__":
  main()
