"""How fast devices compute and talk at most, by their makers' data sheets."""

import jax

# Dense bfloat16 operations per second; the first name that a device's kind contains.
_PEAKS = (
  ("B200", 2250e12),
  ("H200", 989e12),
  ("H100 PCIe", 756e12),
  ("H100", 989e12),
  ("A100", 312e12),
  ("L40S", 362e12),
  ("L4", 121e12),
  ("TPU v6 lite", 918e12),
  ("TPU v6e", 918e12),
  ("TPU v5 lite", 197e12),
  ("TPU v5e", 197e12),
  ("TPU v5", 459e12),
  ("TPU v4", 275e12),
)


def peak_flops(device: jax.Device) -> float | None:
  """Return the peak of a device in operations per second; None if unknown."""
  if device.platform == "cpu":
    return None
  return next((peak for name, peak in _PEAKS if name in device.device_kind), None)


# Bytes per second that a device sends to others of its slice or host: half of what the
# data sheets give for both directions.
_LINKS = (
  ("B200", 900e9),
  ("H200", 450e9),
  ("H100 PCIe", 64e9),
  ("H100", 450e9),
  ("A100", 300e9),
  ("TPU v6", 224e9),
  ("TPU v5 lite", 100e9),
  ("TPU v5e", 100e9),
  ("TPU v5", 300e9),
  ("TPU v4", 150e9),
  ("TPU7x", 600e9),
)


def link_bandwidth(device: jax.Device) -> float | None:
  """Return the bytes per second that a device can send; None if unknown."""
  return next((rate for name, rate in _LINKS if name in device.device_kind), None)
