"""Speed and memory of separating a whole recording, beside the PyTorch baseline.

    python -m benchmarks.separation [--size=small] [--length=12] [--chunk=3] …

Chunks are separated and overlapped as in `mixit-jax separate`. "realtime" is seconds of
audio per second.
"""

from typing import Any

from benchmarks import comparisons, options
from benchmarks.report import rows, save, show
from benchmarks.train_step import peak_of_products
from benchmarks.turns import compete
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.costs import forward_flops


def main() -> None:
  """Run the contest."""
  on_cpu = options.platform() == "cpu"
  parser = options.parser(
    __doc__,
    "size",
    "dtype",
    "rounds",
    num_sources=12 if on_cpu else 4,
    length=12.0 if on_cpu else 240.0,
    chunk=3.0 if on_cpu else 12.0,
    hop=3.0 if on_cpu else 6.0,
    batch=1 if on_cpu else 8,
  )
  settings = parser.parse_args()
  tables = measure(settings)
  if settings.save:
    save(f"separation-{settings.size}", settings, tables)


def measure(settings: Any) -> dict[str, Any]:
  """Run the contest and print its table."""
  s, torch = settings, not settings.no_torch
  config = SeparatorConfig.preset(s.size, num_sources=s.num_sources)
  chunks = 1 + -(-round((s.length - s.chunk) * 1e6) // round(s.hop * 1e6))
  samples = round(s.chunk * config.sample_rate)
  work = sum(forward_flops(config, samples, max(chunks, 1)).values())
  peak, products = peak_of_products(s)
  results = compete(
    comparisons.separation(
      s.size, s.num_sources, s.length, s.chunk, s.hop, s.batch, s.dtype, torch, s.apart
    ),
    s.rounds,
    s.apart,
  )
  table = rows(results, work, peak)
  for row in table:
    if "median_seconds" in row:
      row["realtime"] = round(s.length / row["median_seconds"], 2)
  show(f"Separation of {s.length:g} s, {s.size}, {s.dtype}", table)
  return {"separation": table, "flops": work, "matrix_product": products}


if __name__ == "__main__":
  main()
