"""Requests to stop, and steps that hang."""

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

import jax


class StoppedError(Exception):
  """A request to stop, met amid something that a restart repeats."""


class StopRequest:
  """SIGTERM, Ctrl-C and a terminal that is closed, once there is something to save.

  Before the first step they end the process at once, as they end any other. From
  `defer` on they are remembered; the loop then saves and ends. A second Ctrl-C
  interrupts at once. Under `nohup` a closed terminal is nothing.

  With several processes the coordination service of JAX takes SIGTERM and tells all of
  them, so that they stop at the same step; the others count as SIGTERM there.

  Attributes:
    requested: whether this process has been asked to stop.
  """

  def __init__(self) -> None:
    self.requested = False
    self._previous: dict[int, Any] = {}

  def __enter__(self) -> "StopRequest":
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def defer(self) -> None:
    """Remember requests from now on."""
    # Signal handlers exist in the main thread only; elsewhere the caller handles them.
    in_main_thread = threading.current_thread() is threading.main_thread()
    if self._previous or not in_main_thread:
      return
    taken = [signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
      taken.append(signal.SIGHUP)
    if jax.process_count() == 1:
      taken.append(signal.SIGTERM)
    self._previous = {number: signal.signal(number, self._handle) for number in taken}

  def check(self) -> None:
    """End what can be repeated after a restart.

    Raises:
      StoppedError: This process is asked to stop. Never with several processes, which
        must stop at the same place.
    """
    if self.requested and jax.process_count() == 1:
      raise StoppedError

  def _handle(self, number: int, _: FrameType | None) -> None:
    if number == signal.SIGINT and self.requested:
      raise KeyboardInterrupt
    self.requested = True
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)


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
    """Note what the loop does now, e.g. "step 12: waiting for data"."""
    self._phase = phase
    self._beat.set()

  def _watch(self) -> None:
    while not self._closed:
      if self._beat.wait(self._seconds):
        self._beat.clear()
      else:
        logging.warning(
          "host %d of %d has been at `%s` for %.0f s",
          jax.process_index(),
          jax.process_count(),
          self._phase,
          self._seconds,
        )
