from types import SimpleNamespace

import jax
import pytest

from mixit_jax.devices.peaks import peak_flops


@pytest.mark.parametrize(
  ("kind", "tera"),
  [
    ("NVIDIA H200", 989),
    ("NVIDIA H100 80GB HBM3", 989),
    ("NVIDIA H100 PCIe", 756),
    ("NVIDIA L40S", 362),
    ("TPU v5 lite", 197),
    ("TPU v5", 459),
    ("TPU v6 lite", 918),
  ],
)
def test_known_devices(kind, tera):
  device = SimpleNamespace(platform="gpu", device_kind=kind)
  assert peak_flops(device) == tera * 1e12


def test_other_devices_have_no_known_peak():
  assert peak_flops(jax.devices("cpu")[0]) is None
  assert peak_flops(SimpleNamespace(platform="gpu", device_kind="Radeon")) is None
