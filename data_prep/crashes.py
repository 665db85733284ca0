"""Log of the tracks at which a process died, since some decoders crash.

The log of a shard lies beside it while the shard is made. A track at which processes
keep dying is left out, so that the shard can be finished.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_prep.tracks import UnusableError

MAX_CRASHES = 3
DIED = "process died"


class CrashLog:
  """Count, per track, of the processes that died while it was open."""

  def __init__(self, path: Path):
    """Read what earlier processes left.

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
    """Note that the track is open until the block ends, with or without an error.

    Raises:
      UnusableError: processes died at this track too often; the block is not run.
    """
    crashes = self._counts.get(track, 0)
    if crashes >= MAX_CRASHES:
      reason = f"the process died {crashes} times while it was open"
      raise UnusableError(track, DIED, reason)
    self._counts[track] = crashes + 1
    self._save()
    try:
      yield
    finally:
      self._counts[track] = crashes
      self._save()

  def close(self) -> None:
    """Delete the log: the shard is complete."""
    self._path.unlink(missing_ok=True)

  def _save(self) -> None:
    counts = {track: count for track, count in self._counts.items() if count}
    with suppress(OSError):  # writing the shard reports a full disk
      self._path.write_text(json.dumps(counts), "utf-8")
