"""Does a run fit, and on what: every size compiled for devices that need not be here.

    python -m benchmarks.fit

Each training step is compiled as a run would, with the remat and the accumulation that
it chooses by itself. Rows are stored in results/fit.json as they come, and the table in
docs/scaling.md is written from them; started again, the command does what is missing.
Devices whose compiler is not installed are left out (see `mixit-jax doctor --help`).
TPU programs are compiled at XLA's level O0: for medium on v5e:4x4 that took 45 instead
of 161 s and gave the same peak within 1 % (10.21 and 10.19 GiB).
"""

import argparse
import datetime
import itertools
import json
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from benchmarks.report import RESULTS
from configs import finetune, pretrain
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.devices.platforms import platform_of
from mixit_jax.devices.targets import describe
from mixit_jax.doctor.collectives import collectives
from mixit_jax.doctor.forecast import compile_step
from mixit_jax.errors import UserError
from mixit_jax.files import replacing, write_json
from mixit_jax.training.fitting import TooLargeError, fit
from mixit_jax.training.objectives import make_objective

SIZES = ("small", "medium", "large")
STAGES = {"pretrain": pretrain.get_config, "finetune": finetune.get_config}
TARGETS = (
  "v5e:1",
  "v5e:8",
  "v5e:4x4",
  "v6e:8",
  "v5p:8",
  "rtx4090:1",
  "h100:1",
  "h100:8",
  "h200:1",
  "h200:8",
)
DOCUMENT = Path(__file__).parent.parent / "docs" / "scaling.md"
_BEGIN, _END = "<!-- fit: begin -->", "<!-- fit: end -->"

Row = dict[str, Any]


def main() -> None:
  """Compile what is missing and write the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--targets", default=",".join(TARGETS))
  parser.add_argument("--sizes", default=",".join(SIZES))
  parser.add_argument("--stages", default=",".join(STAGES))
  options = parser.parse_args()
  jax.config.update("jax_platforms", "cpu")
  file = RESULTS / "fit.json"
  rows: list[Row] = json.loads(file.read_text())["rows"] if file.exists() else []
  done = {_key(row) for row in rows}
  asked = (
    options.targets.split(","),
    options.stages.split(","),
    options.sizes.split(","),
  )
  for target, stage, size in itertools.product(*asked):
    if (target, stage, size) in done:
      continue
    try:
      rows.append(measure(target, stage, size))
    except UserError as error:
      print(f"{target} {stage} {size}: {error}", flush=True)
      continue
    print(rows[-1], flush=True)
    write_json(file, {"rows": sorted(rows, key=_order)})
  write_table(sorted(rows, key=_order))


def measure(name: str, stage: str, size: str) -> Row:
  """Compile a step for devices and read off what it needs.

  Raises:
    UserError: there is no compiler for the devices.
  """
  target = describe(name)
  mesh = make_mesh(devices=target.devices)
  config = fit(STAGES[stage](size), mesh, target.memory)
  row: Row = {
    "target": name,
    "stage": stage,
    "size": size,
    "remat": config.model.remat,
    "accumulation": config.run.accumulation,
    "available_gib": round(target.memory / 2**30, 2),
  }
  begun = time.process_time()
  jax.config.update(
    "jax_optimization_level", "O0" if platform_of(mesh) == "tpu" else "UNKNOWN"
  )
  try:
    program = compile_step(make_objective(config, mesh), mesh, target)
  except TooLargeError:
    return row | _facts(begun) | {"fits": False}
  memory = program.memory()
  found = list(collectives(program.step.as_text() or ""))
  return (
    row
    | _facts(begun)
    | {
      "fits": memory.fits,
      "gib": round(memory.total / 2**30, 2),
      "collectives": len(found),
      "collective_mib": round(sum(c.bytes for c in found) / 2**20, 1),
    }
  )


def write_table(rows: list[Row]) -> None:
  """Write the rows into the document, between its marks."""
  text = DOCUMENT.read_text()
  before, _, rest = text.partition(_BEGIN)
  _, _, after = rest.partition(_END)
  table = "\n".join(_table(rows))
  with replacing(DOCUMENT) as new:
    new.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}")


def _table(rows: list[Row]) -> Iterator[str]:
  found = {(row["stage"], row["size"]) for row in rows}
  columns = [c for c in itertools.product(STAGES, SIZES) if c in found]
  yield "| devices | GiB each | " + " | ".join(" ".join(c) for c in columns) + " |"
  yield "|---|---|" + "---|" * len(columns)
  cells = {_key(row): _cell(row) for row in rows}
  available = {row["target"]: row["available_gib"] for row in rows}
  for target in TARGETS:
    if target in available:
      listed = " | ".join(cells.get((target, *c), "") for c in columns)
      yield f"| {target} | {available[target]:g} | {listed} |"


def _cell(row: Row) -> str:
  chosen = f"{row['remat']}, {row['accumulation']}"
  return f"{row['gib']:.1f} ({chosen})" if row["fits"] else f"too large ({chosen})"


def _key(row: Row) -> tuple[str, str, str]:
  return row["target"], row["stage"], row["size"]


def _order(row: Row) -> tuple[int, ...]:
  target, stage, size = _key(row)
  return TARGETS.index(target), list(STAGES).index(stage), SIZES.index(size)


def _facts(begun: float) -> Row:
  return {
    "compile_cpu_seconds": round(time.process_time() - begun),
    "jax": version("jax"),
    "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
  }


if __name__ == "__main__":
  main()
