"""Correlation along one of two sequence axes, fast on every platform."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax


def correlate(x: Array, kernel: Array, axis: int, padding: int = 0) -> Array:
  """Correlates sequences with a kernel, features last: out[l] = sum_j x[l+j] W[j].

  XLA on CPU computes the kernel gradient of its convolution 10 to 20 times slower
  than the convolution; there a gradient of our own takes its place. Elsewhere the
  library's convolution and gradient are used, which need no transposed copy.

  Args:
    x: input [B, T, K, D].
    kernel: weights [kernel_size, D, E].
    axis: sequence axis, 1 (time) or 2 (bands).
    padding: zeros added at both ends of every sequence.

  Returns:
    Array [B, T, K, E], `axis` grown by 2 * padding - kernel_size + 1.
  """
  if jax.default_backend() != "cpu":
    window = (kernel.shape[0], 1) if axis == 1 else (1, kernel.shape[0])
    pads = [(0, 0), (0, 0)]
    pads[axis - 1] = (padding, padding)
    return lax.conv_general_dilated(
      x,
      kernel.reshape(*window, *kernel.shape[1:]),
      (1, 1),
      pads,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
  if axis == 1:
    x = jnp.swapaxes(x, 1, 2)
  rows, columns, length, features = x.shape
  y = _correlate_sequences(x.reshape(-1, length, features), kernel, padding)
  y = y.reshape(rows, columns, *y.shape[1:])
  return jnp.swapaxes(y, 1, 2) if axis == 1 else y


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate_sequences(x: Array, kernel: Array, padding: int) -> Array:
  """Sequences x [S, L, D] and kernel [kernel_size, D, E] -> [S, L', E]."""
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1,),
    padding=[(padding, padding)],
    dimension_numbers=("NWC", "WIO", "NWC"),
  )


def _forward(
  x: Array, kernel: Array, padding: int
) -> tuple[Array, tuple[Array, Array]]:
  return _correlate_sequences(x, kernel, padding), (x, kernel)


def _backward(
  padding: int, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
  x, kernel = residuals
  size = kernel.shape[0]
  flipped = jnp.swapaxes(kernel[::-1], 1, 2)
  x_gradient = _correlate_sequences(gradient, flipped, size - 1 - padding)
  taps = [
    _tap_gradient(x, gradient, offset - padding).astype(kernel.dtype)
    for offset in range(size)
  ]
  return x_gradient, jnp.stack(taps)


def _tap_gradient(x: Array, gradient: Array, shift: int) -> Array:
  """Sum over l of x[l + shift] gradient[l] where both exist, as one product."""
  start = max(0, -shift)
  stop = min(gradient.shape[1], x.shape[1] - shift)
  return jnp.einsum(
    "sld,sle->de",
    x[:, start + shift : stop + shift],
    gradient[:, start:stop],
    preferred_element_type=jnp.float32,
  )


_correlate_sequences.defvjp(_forward, _backward)
