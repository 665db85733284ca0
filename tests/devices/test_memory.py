"""What devices say of their memory."""

from types import SimpleNamespace

import jax

from mixit_jax.devices import memory


def device(**statistics):
  return SimpleNamespace(platform="gpu", memory_stats=lambda: statistics)


def test_the_smallest_device_decides_what_is_offered():
  assert memory.offered([device(bytes_limit=7), device(bytes_limit=5)]) == 5
  assert memory.offered([device()]) is None


def test_the_fullest_device_decides_what_is_free():
  devices = [
    device(bytes_limit=7, bytes_in_use=1),
    device(bytes_limit=9, bytes_in_use=6),
  ]
  assert memory.free(devices) == 3
  assert memory.free([*devices, device()]) is None


def test_the_peak_is_that_of_the_process_where_devices_do_not_say():
  assert memory.peak([device(peak_bytes_in_use=4), device(peak_bytes_in_use=6)]) == 6
  assert memory.peak(jax.devices()) == memory.process_peak() > 2**20
