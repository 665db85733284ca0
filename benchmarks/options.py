"""Command lines of the benchmarks, with defaults that fit the device."""

import argparse
from typing import Any

from benchmarks.report import facts_of_devices

# Settings with which one run takes a few seconds.
_ON_CPU = {
  "size": "small",
  "seconds": 3.0,
  "batch": 1,
  "dtype": "float32",
  "remat": "dots",
  "rounds": 5,
}
# The paper's pre-training step.
_ON_ACCELERATOR = {
  "size": "medium",
  "seconds": 6.0,
  "batch": 64,
  "dtype": "bfloat16",
  "remat": "dots",
  "rounds": 10,
}


def parser(description: str | None, *names: str, **defaults: Any) -> Any:
  """Make a parser of the options named, and of `--save` and `--no-torch`.

  Args:
    description: of the command.
    *names: options from the list above.
    **defaults: further options with their default values.
  """
  on_cpu = platform() == "cpu"
  chosen = _ON_CPU if on_cpu else _ON_ACCELERATOR
  options = argparse.ArgumentParser(
    description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
  )
  for name, default in {**{n: chosen[n] for n in names}, **defaults}.items():
    options.add_argument(
      "--" + name.replace("_", "-"), type=type(default), default=default
    )
  options.add_argument("--save", action="store_true", help="write JSON to results/")
  options.add_argument("--no-torch", action="store_true", help="without the baseline")
  options.set_defaults(apart=not on_cpu)
  return options


def platform() -> str:
  """Return the platform of JAX's devices."""
  return facts_of_devices()["platform"]
