"""Requests to stop, and steps that hang."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

import jax


class StopRequest:
  """Remembers SIGTERM and the first Ctrl-C; the loop then saves and ends.

  A second Ctrl-C interrupts at once. With several hosts the coordination service of
  JAX tells all hosts of a SIGTERM instead, so that they stop at the same step.
  """

  def __init__(self) -> None:
    self.requested = False
    self._previous: dict[int, Any] = {}

  def __enter__(self) -> "StopRequest":
    # Signal handlers exist in the main thread only; elsewhere the caller handles them.
    if threading.current_thread() is threading.main_thread():
      signals = [signal.SIGINT]
      if jax.process_count() == 1:
        signals.append(signal.SIGTERM)
      for number in signals:
        self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _handle(self, number: int, _: FrameType | None) -> None:
    if self.requested and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.requested = True


class Watchdog:
  """Reports what this host waits for when a step takes too long.

  In a run of several hosts the one that reports "data" is late; the others report
  "devices", which wait for it.
  """

  def __init__(self, seconds: float):
    self._seconds = seconds
    self._phase = ""
    self._beat = threading.Event()
    self._closed = False
    self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

  def __enter__(self) -> "Watchdog":
    self._thread.start()
    return self

  def __exit__(self, *_: object) -> None:
    self._closed = True
    self._beat.set()
    self._thread.join()

  def enter(self, phase: str) -> None:
    """Notes what the loop does now, e.g. "step 12: waiting for data"."""
    self._phase = phase
    self._beat.set()

  def _watch(self) -> None:
    while not self._closed:
      if self._beat.wait(self._seconds):
        self._beat.clear()
      else:
        logging.warning(
          "host %d of %d has been at `%s` for %.0f s",
          jax.process_index(), jax.process_count(), self._phase, self._seconds,
        )  # fmt: skip
