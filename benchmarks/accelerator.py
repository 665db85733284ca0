"""Everything worth knowing about an accelerator, in one command of ten minutes at most.

    python -m benchmarks.accelerator

Training steps of 64 mixtures of mixtures of 6 s and the separation of a 4-minute song,
for the three sizes, beside the PyTorch baseline; the objective alone; compile time. The
most important comes first. Results are written after each contest, and none begins
after `--minutes`; those left out are named. It needs jax, flax, optax and torch.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import compile_time, objective, options, separation, train_step
from benchmarks.report import save

_Contest = tuple[str, Callable[[Any], dict[str, Any]], dict[str, Any]]


def main() -> None:
  """Run the comparisons."""
  settings = _settings()
  begun = time.monotonic()
  tables: dict[str, Any] = {}
  left_out: list[str] = []
  for name, measure, choices in _contests(settings):
    if time.monotonic() - begun > 60 * settings.minutes:
      left_out.append(name)
      continue
    tables[name] = measure(argparse.Namespace(**vars(settings) | choices))
    save("accelerator", settings, {"contests": tables})
  if left_out:
    print(f"\nno time was left for: {', '.join(left_out)}")


def _settings() -> argparse.Namespace:
  accelerated = options.platform() != "cpu"
  parser = options.parser(
    __doc__,
    "dtype",
    "remat",
    rounds=5,
    sizes="medium,small,large" if accelerated else "small",
    seconds=6.0 if accelerated else 1.0,
    batch=64 if accelerated else 1,
    song=240.0 if accelerated else 6.0,
    chunk=12.0 if accelerated else 3.0,
    hop=6.0 if accelerated else 3.0,
    chunks=8 if accelerated else 1,
    minutes=9.0,
  )
  return parser.parse_args()


def _contests(settings: argparse.Namespace) -> Iterator[_Contest]:
  """Yield name, measurement and settings of each contest, the most important first."""
  s = settings
  sizes = s.sizes.split(",")
  steps = {"num_sources": 12}
  songs = {"num_sources": 4, "length": s.song, "batch": s.chunks}
  yield f"step {sizes[0]}", train_step.measure, steps | {"size": sizes[0]}
  yield f"separation {sizes[0]}", separation.measure, songs | {"size": sizes[0]}
  for size in sizes[1:]:
    yield f"step {size}", train_step.measure, steps | {"size": size}
  for size in sizes[1:]:
    yield f"separation {size}", separation.measure, songs | {"size": size}
  yield "objective", objective.measure, steps | {"size": sizes[0]}
  yield "compile time", compile_time.measure, steps | {"size": sizes[0], "rounds": 1}


if __name__ == "__main__":
  main()
