"""Remembers at which tracks a process died, for there are decoders that crash.

The log of a shard lies beside it while the shard is made. A track that was open
every time the process died is given up, so that the shard gets done.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mixit_jax.audio.files import AudioError

MAX_CRASHES = 3


class CrashLog:
  """Counts per track how often a process died while it was open."""

  def __init__(self, path: Path):
    """Reads what earlier processes left.

    Args:
      path: the log.
    """
    self._path = path
    try:
      self._counts: dict[str, int] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
      self._counts = {}

  @contextmanager
  def watch(self, track: str) -> Iterator[None]:
    """Notes that the track is open, until the block ends in whatever way.

    Raises:
      AudioError: if processes died at this track too often; the block is not run.
    """
    crashes = self._counts.get(track, 0)
    if crashes >= MAX_CRASHES:
      raise AudioError(track, f"the process died {crashes} times while it was open")
    self._counts[track] = crashes + 1
    self._save()
    try:
      yield
    finally:
      self._counts[track] = crashes
      self._save()

  def close(self) -> None:
    """Deletes the log: the shard is complete."""
    self._path.unlink(missing_ok=True)

  def _save(self) -> None:
    counts = {track: count for track, count in self._counts.items() if count}
    with suppress(OSError):  # a full disk is found out, and told, by the shard
      self._path.write_text(json.dumps(counts), "utf-8")
