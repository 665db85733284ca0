"""How fast devices multiply matrices at most, by their makers' data sheets."""

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
