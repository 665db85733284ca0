"""Requests to stop, and steps that hang."""

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import jax


class StoppedError(Exception):
  """A request to stop, met amid something that a restart repeats."""


class StopRequest:
  """SIGTERM and Ctrl-C, and what becomes of them.

  Before the first step there is nothing to save: SIGTERM ends the process at once,
  with status 0, even within a compilation, and Ctrl-C is a `KeyboardInterrupt`. After
  `defer` both are remembered; the loop then saves and ends. A second Ctrl-C interrupts
  at once.

  With several processes the coordination service of JAX takes SIGTERM and tells all of
  them, so that they stop at the same step; Ctrl-C counts as SIGTERM there.
  """

  def __init__(self) -> None:
    self.requested = False
    self._deferred = False
    self._previous: dict[int, Any] = {}
    self._listener: _SignalListener | None = None

  def __enter__(self) -> "StopRequest":
    # Signal handlers exist in the main thread only; elsewhere the caller handles them.
    if threading.current_thread() is threading.main_thread():
      signals = [signal.SIGINT]
      if jax.process_count() == 1:
        signals.append(signal.SIGTERM)
      for number in signals:
        self._previous[number] = signal.signal(number, self._handle)
      self._listener = _SignalListener(self._hear)
    return self

  def __exit__(self, *_: object) -> None:
    if self._listener is not None:
      self._listener.close()
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def defer(self) -> None:
    """From now on there is something to save: requests are remembered."""
    self._deferred = True

  def check(self) -> None:
    """Ends what can be repeated after a restart.

    Raises:
      StoppedError: this process is asked to stop. Never with several processes, which
        must stop at the same place.
    """
    if self.requested and jax.process_count() == 1:
      raise StoppedError

  def _handle(self, number: int, _: FrameType | None) -> None:
    if number == signal.SIGINT and (self.requested or not self._deferred):
      raise KeyboardInterrupt
    self.requested = True
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)

  def _hear(self, number: int) -> None:
    """Called by another thread, while the main one may be held by a compilation."""
    if number == signal.SIGTERM and not self._deferred and jax.process_count() == 1:
      logging.warning("stopped before the first step; start again to go on")
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(0)


class _SignalListener:
  """Hears of signals at once: handlers wait until the interpreter is free."""

  def __init__(self, hear: Any):
    self._hear = hear
    self._reading, self._writing = os.pipe()
    os.set_blocking(self._writing, False)
    self._previous = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
    self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
    self._thread.start()

  def _listen(self) -> None:
    while received := os.read(self._reading, 1):
      self._hear(received[0])

  def close(self) -> None:
    signal.set_wakeup_fd(self._previous)
    os.close(self._writing)
    self._thread.join()
    os.close(self._reading)


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
          jax.process_index(),
          jax.process_count(),
          self._phase,
          self._seconds,
        )
