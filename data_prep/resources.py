"""How many worker processes this machine, or this container, can carry."""

import os
from pathlib import Path

# For a worker: more than its measured peak, see docs/preparation.md.
WORKER_BYTES = 500 << 20
_LEFT_FREE = 0.8  # share of the free memory that the workers may fill


def default_workers() -> int:
  """Return a number of processes that fits both processors and free memory."""
  fitting = int(free_memory() * _LEFT_FREE // WORKER_BYTES)
  return max(1, min(processors(), fitting))


def processors() -> int:
  """Return the number of processors that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def free_memory(root: Path = Path("/")) -> float:
  """Return the bytes that are free here: of the machine, and within its container.

  Args:
    root: where proc and sys are found.

  Returns:
    infinity where nothing tells.
  """
  free = float("inf")
  for line in _lines(root / "proc/meminfo"):
    if line.startswith("MemAvailable:"):
      free = float(line.split()[1]) * 1024
  limit, used = _control_group(root / "sys/fs/cgroup")
  return min(free, max(limit - used, 0.0))


def _control_group(folder: Path) -> tuple[float, float]:
  """Return limit and use of memory, of version 2 or 1 of control groups, in bytes."""
  for limit, used, statistics in (
    ("memory.max", "memory.current", "memory.stat"),
    (
      "memory/memory.limit_in_bytes",
      "memory/memory.usage_in_bytes",
      "memory/memory.stat",
    ),
  ):
    values = [*_lines(folder / limit), *_lines(folder / used)]
    if len(values) == 2 and all(value.isdigit() for value in values):
      # What was read from disk is given up when memory is needed.
      cached = [
        float(line.split()[1])
        for line in _lines(folder / statistics)
        if line.startswith(("inactive_file ", "total_inactive_file "))
      ]
      return float(values[0]), float(values[1]) - max(cached, default=0.0)
  return float("inf"), 0.0


def _lines(file: Path) -> list[str]:
  try:
    return file.read_text().splitlines()
  except OSError:
    return []
