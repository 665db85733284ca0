"""Speed and memory of a pre-training step, beside the PyTorch baseline.

    python -m benchmarks.train_step [--size=small] [--seconds=3] [--batch=1] …

Forward, MixIT loss with efficient assignment, backward, clipping and AdamW on noise.
On CPU all take turns; on an accelerator one ends before the next begins.
"""

import argparse
from typing import Any

from benchmarks import comparisons, options
from benchmarks.report import rows, save, show
from benchmarks.turns import compete
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.costs import step_flops


def main() -> None:
  """Run the contest."""
  parser = options.parser(
    __doc__, "size", "seconds", "batch", "dtype", "remat", "rounds", num_sources=12
  )
  settings = parser.parse_args()
  tables = measure(settings)
  if settings.save:
    save(f"train-step-{settings.size}", settings, tables)


def contest(
  size: str = "medium", seconds: float = 6.0, batch: int = 16
) -> dict[str, Any]:
  """Run the contest with what fits beside the baseline; return its rows."""
  on_cpu = options.platform() == "cpu"
  settings = argparse.Namespace(
    size=size,
    seconds=seconds,
    batch=batch,
    num_sources=12,
    dtype="float32" if on_cpu else "bfloat16",
    remat="dots",
    rounds=5,
    apart=not on_cpu,
    no_torch=False,
  )
  return {"rows": measure(settings)["step"]}


def measure(settings: Any) -> dict[str, Any]:
  """Run the contest and print its table."""
  s, torch = settings, not settings.no_torch
  config = SeparatorConfig.preset(s.size, num_sources=s.num_sources)
  work = step_flops(config, round(s.seconds * config.sample_rate), s.batch)
  peak, products = peak_of_products(s)
  results = compete(
    comparisons.train_step(
      s.size, s.num_sources, s.seconds, s.batch, s.dtype, s.remat, torch, s.apart
    ),
    s.rounds,
    s.apart,
  )
  table = rows(results, work, peak)
  show(f"Training step, {s.size}, {s.batch} x {s.seconds:g} s, {s.dtype}", table)
  return {"step": table, "flops": work, "matrix_product": products}


def peak_of_products(settings: Any) -> tuple[float | None, list[dict[str, Any]]]:
  """Measure the fastest large matrix product: operations per second, and the table."""
  length = 8192 if settings.apart else 2048
  results = compete(
    comparisons.matrix_product(length, settings.dtype, not settings.no_torch),
    settings.rounds,
    settings.apart,
  )
  table = rows(results, 2 * length**3, None)
  show(f"Product of {length} x {length} matrices, {settings.dtype}", table)
  speeds = [2 * length**3 / min(r.seconds) for r in results if not r.problem]
  return max(speeds, default=None), table


if __name__ == "__main__":
  main()
