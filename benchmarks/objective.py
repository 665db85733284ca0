"""Cost of the MixIT loss alone, with the exact and with the efficient assignment.

    python -m benchmarks.objective [--seconds=6] [--batch=2] …

Loss and gradient of given estimates, and for comparison a whole training step.
"""

from typing import Any

from benchmarks import comparisons, options
from benchmarks.report import rows, save, show
from benchmarks.turns import compete


def main() -> None:
  """Run the contest."""
  parser = options.parser(
    __doc__, "size", "seconds", "batch", "dtype", "remat", "rounds", num_sources=12
  )
  settings = parser.parse_args()
  tables = measure(settings)
  if settings.save:
    save("objective", settings, tables)


def measure(settings: Any) -> dict[str, Any]:
  """Run the contest and print its table."""
  s = settings
  alone = compete(
    comparisons.objective(s.num_sources, s.seconds, s.batch, not s.no_torch), s.rounds
  )
  table = rows(alone, 0, None)
  show(f"MixIT loss and gradient, {s.batch} x {s.seconds:g} s", table)
  step = compete(
    comparisons.train_step(
      s.size, s.num_sources, s.seconds, s.batch, s.dtype, s.remat, False, s.apart
    ),
    s.rounds,
  )[0]
  if step.problem:
    return {"objective": table, "step": rows([step], 0, None)}
  share = {r.name: r.median / step.median for r in alone if not r.problem}
  for name, value in share.items():
    print(f"{name}: {value:.2%} of a training step ({step.median:.3f} s)")
  return {"objective": table, "share_of_step": share, "step": rows([step], 0, None)}


if __name__ == "__main__":
  main()
