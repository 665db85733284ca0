"""The one switch between platforms.

Nothing asks for JAX's default backend: a program may be compiled for other devices
than those of this machine. What differs between platforms asks here, by the devices
that it is compiled for.
"""

from collections.abc import Callable
from typing import Any

from jax import lax
from jax.sharding import Mesh


def by_platform(
  default: Callable[..., Any], **variants: Callable[..., Any]
) -> Callable[..., Any]:
  """Return a function that becomes the variant of the platform it is compiled for.

  Only that variant is compiled. What is not linear should not be differentiated
  through this switch, which would keep what the backward passes of all variants need:
  put it into the functions of a `jax.custom_vjp`.

  Args:
    default: for the platforms that are not named.
    **variants: of the platforms "cpu", "cuda", "rocm" or "tpu"; all variants map the
      same arrays to results of the same shapes and types.
  """

  def switch(*operands: Any) -> Any:
    return lax.platform_dependent(*operands, default=default, **variants)

  return switch


def platform_of(mesh: Mesh) -> str:
  """Return the platform of a mesh: "cpu", "gpu", "tpu" or "old tpu".

  The last are v2 and v3, whose kernels in Pallas cannot multiply in bfloat16.
  """
  device = mesh.devices.flat[0]
  old = device.device_kind in ("TPU v2", "TPU v3")
  return "old tpu" if old else device.platform
