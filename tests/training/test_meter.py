from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from training.tiny import pretrain_config

from mixit_jax.devices.mesh import make_mesh
from mixit_jax.separator.costs import step_flops
from mixit_jax.training import meter as module
from mixit_jax.training.meter import Meter


@pytest.fixture
def clock(monkeypatch):
  class Clock:
    now = 0.0

  clock = Clock()
  monkeypatch.setattr(module.time, "perf_counter", lambda: clock.now)
  return clock


def test_speed_since_the_last_reading(clock, monkeypatch):
  monkeypatch.setattr(module, "peak_flops", lambda device, dtype: 1e9)
  config = pretrain_config(Path(), batch=8)
  meter = Meter(config, make_mesh())
  for _ in range(2):  # the second reading must not know of the first
    for _ in range(5):
      with meter.waiting():
        clock.now += 0.1
      meter.count_step()
    clock.now += 1.5
    values = meter.read()
    assert values["seconds_per_step"] == pytest.approx(0.4)
    assert values["examples_per_second"] == pytest.approx(20)
    assert values["share_waiting_for_data"] == pytest.approx(0.25)
    flops = step_flops(config.model, config.example_samples, 8) * 5 / 2
    assert values["flops_per_second"] == pytest.approx(flops)
    peak = jax.device_count() * 1e9
    assert values["share_of_peak"] == pytest.approx(flops / peak)


def test_a_wait_counts_only_where_the_step_had_ended(clock):
  meter = Meter(pretrain_config(Path()), make_mesh())
  for ended in (False, True):
    with meter.waiting(SimpleNamespace(is_ready=lambda ended=ended: ended)):
      clock.now += 2.0
  clock.now += 4.0
  values = meter.read()
  assert values["seconds_waiting_for_data"] == pytest.approx(2.0)
  assert values["share_waiting_for_data"] == pytest.approx(0.25)


def test_a_pause_takes_its_time_out(clock):
  meter = Meter(pretrain_config(Path(), batch=8), make_mesh())
  clock.now += 100
  meter.pause()
  meter.count_step()
  clock.now += 1
  assert meter.read()["seconds_per_step"] == pytest.approx(1)


def test_an_unknown_peak_has_no_share():
  assert "share_of_peak" not in Meter(pretrain_config(Path()), make_mesh()).read()
