"""How fast devices compute and talk at most, by their makers' data sheets.

Operations on dense bfloat16 matrices with sums in float32. NVIDIA: the data sheets of
each product and the white papers of Ampere and Ada (GeForce). They often show the
speed with sparsity, which is twice as much; that of TF32, in which JAX multiplies
float32 matrices there, is half as much on all of them. TPU: the page of each version in
the documentation of Google Cloud, which tells the speed of a chip. They multiply
float32 matrices as bfloat16.

JAX's devices are whole chips but for TPU v2, v3 and 7x, where a chip of two cores is
two devices: the table has half a chip for them. (So is a described v4 without
`chip_config_name="megacore"`; the real one is whole.) The T4 has no bfloat16 and is
left out, as is any other device whose peak is not known.
"""

import re

import jax

# By the first pattern that a device's kind contains: operations per second, and bytes
# per second that it sends to others of its host or slice (half of what is given for
# both directions; None where there is no such link).
_KINDS = tuple(
  (re.compile(pattern), peak, link)
  for pattern, peak, link in (
    (r"\bB200\b", 2250e12, 900e9),
    (r"\bGH200\b", 989e12, 450e9),
    (r"\bH200\b", 989e12, 450e9),
    (r"\bH100 PCIe\b", 756e12, None),
    (r"\bH100\b", 989e12, 450e9),
    (r"\bA100\b", 312e12, 300e9),
    (r"\bA10G\b", 70e12, None),
    (r"\bA10\b", 125e12, None),
    (r"\bL40S\b", 362e12, None),
    (r"\bL4\b", 121e12, None),
    # To the end: the "Laptop GPU" and the "D" are other chips.
    (r"\bRTX 4090$", 165e12, None),
    (r"\bRTX 3090$", 71e12, None),
    (r"^TPU7x$", 2307e12 / 2, 600e9 / 2),
    (r"^TPU v6 lite$", 918e12, 224e9),
    (r"^TPU v5 lite$", 197e12, 100e9),
    (r"^TPU v5$", 459e12, 300e9),
    (r"^TPU v4$", 275e12, 150e9),
    (r"^TPU v3$", 123e12 / 2, None),
    (r"^TPU v2$", 46e12 / 2, None),
  )
)


def peak_flops(device: jax.Device, dtype: str = "bfloat16") -> float | None:
  """Return the peak of a device in operations per second; None if unknown.

  Args:
    device: whose peak.
    dtype: of the matrices; of "float32" at JAX's usual precision.
  """
  peak = _find(device)[0]
  slower = dtype == "float32" and not device.device_kind.startswith("TPU")
  return peak / 2 if peak and slower else peak


def link_bandwidth(device: jax.Device) -> float | None:
  """Return the bytes per second that a device can send; None if unknown."""
  return _find(device)[1]


def _find(device: jax.Device) -> tuple[float | None, float | None]:
  found = (row[1:] for row in _KINDS if row[0].search(device.device_kind))
  return next(found, (None, None))
