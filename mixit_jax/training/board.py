"""TensorBoard files, written in the thread of the caller.

tensorboardX's own writer hands events to a thread. Where the disk is full, that thread
dies, and the run would wait for it for ever at the next events.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2


class Board:
  """An event file of TensorBoard."""

  def __init__(self, folder: Path, first_step: int):
    """Open a new file in the folder.

    Args:
      folder: created where it is missing.
      first_step: TensorBoard hides what earlier files hold from this step on.

    Raises:
      OSError: the file cannot be written; so do all methods.
    """
    folder.mkdir(parents=True, exist_ok=True)
    self._writer = EventsWriter(str(folder / "events"))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(first_step, session_log=start)

  def scalar(self, name: str, step: int, value: float) -> None:
    """Add a number."""
    self._write(step, summary=summary.scalar(name, value))

  def audio(self, name: str, step: int, audio: np.ndarray, sample_rate: int) -> None:
    """Add audio [C, L] of at most full scale."""
    self._write(step, summary=summary.audio(name, audio.T, sample_rate))

  def image(self, name: str, step: int, image: np.ndarray) -> None:
    """Add an image [1, H, W] with values in [0, 1]."""
    self._write(step, summary=summary.image(name, image))

  def flush(self) -> None:
    """Write what is still in memory."""
    self._writer.flush()

  def close(self) -> None:
    """Write what is still in memory, and close the file."""
    self._writer.close()

  def _write(self, step: int, **content: Any) -> None:
    event = event_pb2.Event(step=step, wall_time=time.time(), **content)
    self._writer.write_event(event)
