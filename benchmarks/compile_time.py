"""Seconds to compile a training step, cold and from the persistent cache.

    python -m benchmarks.compile_time [--size=small] [--seconds=3] [--batch=1] …

Each compilation has a process of its own. "cold" begins with an empty cache, "cached"
finds what "cold" left.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import options
from benchmarks.report import rows, save, show
from benchmarks.turns import Result


def main() -> None:
  """Measure, or compile once in this process if called with "once"."""
  if sys.argv[1:2] == ["once"]:
    print(json.dumps(compile_once(**json.loads(sys.argv[2]))))
    return
  parser = options.parser(
    __doc__, "size", "seconds", "batch", "dtype", "remat", num_sources=12, rounds=2
  )
  settings = parser.parse_args()
  tables = measure(settings)
  if settings.save:
    save(f"compile-time-{settings.size}", settings, tables)


def measure(settings: Any) -> dict[str, Any]:
  """Compile in fresh processes and print the table."""
  s = settings
  step = {
    "size": s.size,
    "num_sources": s.num_sources,
    "seconds": s.seconds,
    "batch": s.batch,
    "dtype": s.dtype,
    "remat": s.remat,
  }
  cold, cached = Result("cold"), Result("cached")
  for _ in range(s.rounds):
    with tempfile.TemporaryDirectory() as cache:
      for result in (cold, cached):
        found = _compile_in_a_process(step, cache)
        result.seconds.append(found["seconds"])
        result.memory = max(result.memory, int(found["memory"]))
  table = rows([cold, cached], 0, None)
  for row in table:
    for key in ("prepare_seconds", "ours_is_faster"):
      del row[key]
  show(f"Compilation of a training step, {s.size}", table)
  return {"compilation": table}


def compile_once(**step: Any) -> dict[str, float]:
  """Trace and compile a training step."""
  import jax

  from benchmarks.ours import compiled_step
  from mixit_jax.devices.memory import process_peak

  jax.devices()  # starting the device does not count
  begun = time.perf_counter()
  compiled_step(**step)
  return {"seconds": time.perf_counter() - begun, "memory": process_peak()}


def _compile_in_a_process(step: dict[str, Any], cache: str) -> dict[str, float]:
  variables = {
    "JAX_COMPILATION_CACHE_DIR": cache,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  command = [sys.executable, "-m", "benchmarks.compile_time", "once", json.dumps(step)]
  done = subprocess.run(
    command, env=os.environ | variables, check=True, stdout=subprocess.PIPE, text=True
  )
  return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
  main()
