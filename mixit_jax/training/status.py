"""How runs stand, read from their folders while they train or after they ended."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mixit_jax.files import nan_to_null
from mixit_jax.lock import GONE_AFTER, find_owner
from mixit_jax.training.progress import best_step, duration
from mixit_jax.training.telemetry import METRICS_FILE
from mixit_jax.weights.runs import checkpoint_steps, read_document, valid_losses

_COLUMNS = (
  "run",
  "state",
  "step",
  "steps",
  "examples/s",
  "loss",
  "best",
  "at step",
  "time left",
  "last sign of life",
)


def run_status(run: Path) -> dict[str, Any]:
  """Describe how a run stands, as plain values.

  Returns:
    `state`: "running", "complete", "stopped" (also killed), or "silent" where its owner
    is elsewhere and has shown no sign of life for a minute; `step` reported last and
    `steps` in all; `saved`, the latest checkpoint; `examples_per_second`, `loss`,
    `seconds_left` as reported last; `best_loss` of all validations and its `best_step`;
    `last_sign`, in seconds since the epoch; `owner`. None where it is not known.

  Raises:
    RunError: the folder is not a run.
  """
  run = Path(run)
  steps = read_document(run)["config"]["run"]["steps"]
  reports = [line for line in read_metrics(run) if line["group"] == "train"]
  last = reports[-1] if reports else {}
  losses, saved = valid_losses(run), checkpoint_steps(run)
  best = best_step(losses)
  owner = find_owner(run)
  signs = [last.get("time"), owner and owner[1]]
  sign = max((at for at in signs if at), default=None)
  running = owner is not None and (not owner[0].visible or owner[0].runs)
  if running and owner and not owner[0].visible and time.time() - owner[1] > GONE_AFTER:
    state = "silent"
  elif running:
    state = "running"
  else:
    state = (
      "complete" if saved and saved[-1] >= steps and saved[-1] in losses else "stopped"
    )
  values = {
    "run": str(run),
    "state": state,
    "step": last.get("step", saved[-1] if saved else 0),
    "steps": steps,
    "saved": saved[-1] if saved else None,
    "examples_per_second": last.get("examples_per_second"),
    "loss": last.get("loss"),
    "best_loss": None if best is None else losses[best],
    "best_step": best,
    "seconds_left": last.get("seconds_left") if state == "running" else None,
    "last_sign": sign,
    "owner": str(owner[0]) if owner else None,
  }
  return nan_to_null(values)


def read_metrics(run: Path) -> Iterator[dict[str, Any]]:
  """Yield the reports of a run; a line that is being written is left out."""
  try:
    text = (Path(run) / METRICS_FILE).read_text(errors="replace")
  except OSError:
    return
  for line in text.splitlines():
    try:
      report = json.loads(line)
    except ValueError:
      continue
    if isinstance(report, dict) and {"group", "step"} <= report.keys():
      yield report


def status_table(statuses: Sequence[dict[str, Any]]) -> str:
  """Lay out the status of runs, one line for each."""
  rows = [_COLUMNS, *map(_row, statuses)]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = (
    "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
    for row in rows
  )
  return "\n".join(line.rstrip() for line in lines)


def _row(status: dict[str, Any]) -> tuple[str, ...]:
  def number(name: str) -> str:
    return "-" if status[name] is None else f"{status[name]:.4g}"

  left, sign = status["seconds_left"], status["last_sign"]
  return (
    status["run"],
    status["state"],
    str(status["step"]),
    str(status["steps"]),
    number("examples_per_second"),
    number("loss"),
    number("best_loss"),
    "-" if status["best_step"] is None else str(status["best_step"]),
    "-" if left is None else duration(left),
    "-" if sign is None else f"{duration(max(time.time() - sign, 0))} ago",
  )
