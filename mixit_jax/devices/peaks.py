"""How fast devices compute and talk at most, by their makers' data sheets.

Operations on dense bfloat16 matrices with sums in float32. NVIDIA: the data sheets of
each product and the white papers of Ampere and Ada (GeForce). They often show the
speed with sparsity, which is twice as much. TPU: the page of each version in the
documentation of Google Cloud, which tells the speed of a chip.

JAX's devices are whole chips but for TPU v2, v3 and 7x, where a chip of two cores is
two devices: the table has half a chip for them. (So is a described v4 without
`chip_config_name="megacore"`; the real one is whole.) The T4 has no bfloat16 and is
left out, as is any other device whose peak is not known.
"""

import re

import jax

# Operations per second; the first pattern that a device's kind contains.
_PEAKS = tuple(
  (re.compile(pattern), peak)
  for pattern, peak in (
    (r"\bB200\b", 2250e12),
    (r"\bGH200\b", 989e12),
    (r"\bH200\b", 989e12),
    (r"\bH100 PCIe\b", 756e12),
    (r"\bH100\b", 989e12),
    (r"\bA100\b", 312e12),
    (r"\bA10G\b", 70e12),
    (r"\bA10\b", 125e12),
    (r"\bL40S\b", 362e12),
    (r"\bL4\b", 121e12),
    # To the end: the "Laptop GPU" and the "D" are other chips.
    (r"\bRTX 4090$", 165e12),
    (r"\bRTX 3090$", 71e12),
    (r"^TPU7x$", 2307e12 / 2),
    (r"^TPU v6 lite$", 918e12),
    (r"^TPU v5 lite$", 197e12),
    (r"^TPU v5$", 459e12),
    (r"^TPU v4$", 275e12),
    (r"^TPU v3$", 123e12 / 2),
    (r"^TPU v2$", 46e12 / 2),
  )
)


def peak_flops(device: jax.Device) -> float | None:
  """Return the peak of a device in operations per second; None if unknown."""
  if device.platform == "cpu":
    return None
  kind = device.device_kind
  return next((peak for pattern, peak in _PEAKS if pattern.search(kind)), None)


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
  ("TPU7x", 300e9),
)


def link_bandwidth(device: jax.Device) -> float | None:
  """Return the bytes per second that a device can send; None if unknown."""
  return next((rate for name, rate in _LINKS if name in device.device_kind), None)
