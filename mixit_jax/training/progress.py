"""How far a run is: the best validation so far, time left, whether to stop early."""

import math
import time
from collections.abc import Mapping


def best_step(losses: Mapping[int, float]) -> int | None:
  """Return the step of the lowest validation loss; None where none is finite."""
  finite = [step for step, loss in losses.items() if math.isfinite(loss)]
  return min(finite, key=lambda step: (losses[step], step), default=None)


def is_spent(losses: Mapping[int, float], patience: int) -> bool:
  """Tell whether so many validations in a row have found no better loss.

  Args:
    losses: step to loss of all validations.
    patience: their number; with 0 a run never stops early.
  """
  best = best_step(losses)
  later = [step for step in losses if best is None or step > best]
  return 0 < patience <= len(later)


class Progress:
  """Time left of a run, from the steps of this process, with their validations."""

  def __init__(self, steps: int):
    """Expect so many steps in all."""
    self._steps = steps
    self._begun: tuple[int, float] | None = None

  def seconds_left(self, step: int) -> float | None:
    """Estimate the seconds until the last step, called after a step.

    None at the first call: the first steps also compile.
    """
    now = time.perf_counter()
    if self._begun is None:
      self._begun = step, now
    first, begun = self._begun
    if step == first:
      return None
    return (now - begun) / (step - first) * (self._steps - step)


def describe(losses: Mapping[int, float], seconds_left: float | None) -> str:
  """Say how a run stands, such as "best -3.41 at 4000, 2 h 13 min left"."""
  parts = []
  if (best := best_step(losses)) is not None:
    parts.append(f"best {losses[best]:.4g} at {best}")
  if seconds_left is not None:
    parts.append(f"{duration(seconds_left)} left")
  return ", ".join(parts)


def duration(seconds: float) -> str:
  """Return a time in its two largest units, such as "2 d 5 h"."""
  whole = round(seconds)
  if whole < 60:
    return f"{whole} s"
  minutes = round(seconds / 60)
  if minutes < 60:
    return f"{minutes} min"
  hours, minutes = divmod(minutes, 60)
  return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
