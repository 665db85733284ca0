import logging
import os
import signal
import time

import pytest

from mixit_jax.training.interrupts import StoppedError, StopRequest, Watchdog


def send(number):
  os.kill(os.getpid(), number)
  time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_is_remembered_once_there_is_something_to_save(number):
  with StopRequest() as stop:
    stop.defer()
    stop.check()
    send(number)
    assert stop.requested
    with pytest.raises(StoppedError):
      stop.check()


def test_ctrl_c_interrupts_before_the_first_step_and_the_second_time():
  with StopRequest(), pytest.raises(KeyboardInterrupt):
    send(signal.SIGINT)
  with StopRequest() as stop:
    stop.defer()
    send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
      send(signal.SIGINT)


def test_handlers_are_there_from_the_first_step_to_the_end():
  handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
  with StopRequest() as stop:
    assert signal.getsignal(signal.SIGTERM) == handlers[0]
    stop.defer()
    stop.defer()
    assert signal.getsignal(signal.SIGTERM) != handlers[0]
  assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_the_watchdog_names_host_and_phase_while_a_step_hangs(caplog):
  with caplog.at_level(logging.WARNING), Watchdog(0.2) as watchdog:
    for number in range(5):
      watchdog.enter(f"step {number}: waiting for data")
      time.sleep(0.02)
    assert not caplog.messages
    time.sleep(0.5)
  assert caplog.messages[0] == (
    "host 0 of 1 has been at `step 4: waiting for data` for 0 s"
  )
