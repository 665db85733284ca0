from types import SimpleNamespace

import jax
import pytest

from mixit_jax.devices.peaks import peak_flops


def of_kind(kind, dtype="bfloat16"):
  return peak_flops(SimpleNamespace(device_kind=kind), dtype)


# Kinds of TPUs are those of the topologies that libtpu describes, of GPUs the names
# that the driver tells.
@pytest.mark.parametrize(
  ("kind", "tera"),
  [
    ("NVIDIA B200", 2250),
    ("NVIDIA GH200 480GB", 989),
    ("NVIDIA H200", 989),
    ("NVIDIA H100 80GB HBM3", 989),
    ("NVIDIA H100 PCIe", 756),
    ("NVIDIA A100-SXM4-80GB", 312),
    ("NVIDIA A10", 125),
    ("NVIDIA A10G", 70),
    ("NVIDIA L40S", 362),
    ("NVIDIA L4", 121),
    ("NVIDIA GeForce RTX 4090", 165),
    ("NVIDIA GeForce RTX 3090", 71),
    ("TPU v2", 23),
    ("TPU v3", 61.5),
    ("TPU v4", 275),
    ("TPU v5 lite", 197),
    ("TPU v5", 459),
    ("TPU v6 lite", 918),
    ("TPU7x", 1153.5),
  ],
)
def test_known_devices(kind, tera):
  assert of_kind(kind) == tera * 1e12


@pytest.mark.parametrize(
  "kind",
  [
    "Radeon",
    "Tesla T4",
    "NVIDIA L40",
    "NVIDIA RTX A1000",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 3090 Ti",
  ],
)
def test_devices_with_similar_names_have_no_known_peak(kind):
  assert of_kind(kind) is None


@pytest.mark.parametrize(
  ("kind", "share"), [("NVIDIA H100 80GB HBM3", 0.5), ("TPU v5 lite", 1), ("TPU v2", 1)]
)
def test_gpus_multiply_float32_at_half_the_speed(kind, share):
  assert of_kind(kind, "float32") == share * of_kind(kind)
  assert of_kind(kind, "auto") == of_kind(kind)


def test_a_cpu_has_no_known_peak():
  assert peak_flops(jax.devices("cpu")[0]) is None
  assert peak_flops(jax.devices("cpu")[0], "float32") is None
