"""Correlation along sequences, in the form that is fast on every platform."""

import jax.numpy as jnp
from jax import Array, lax


def correlate(x: Array, kernel: Array, padding: int = 0) -> Array:
  """Correlates sequences with a kernel, features last: y[l] = sum_j x[l + j] W[j].

  The form matters on CPU, where XLA has one fast path: one spatial axis and no
  padding of its own. With it the gradients are as fast as the result; the gradient
  with respect to the kernel is 5 times slower with two spatial axes and up to 100
  times with padding inside the convolution. Hence sequences are merged into one
  batch axis, and padded beforehand.

  Args:
    x: sequences [B, S, L, D].
    kernel: weights [kernel_size, D, E].
    padding: zeros added at both ends of every sequence.

  Returns:
    Array [B, S, L + 2 * padding - kernel_size + 1, E].
  """
  batch, sequences, _, features = x.shape
  if padding:
    x = jnp.pad(x, ((0, 0), (0, 0), (padding, padding), (0, 0)))
  y = lax.conv_general_dilated(
    x.reshape(batch * sequences, -1, features),
    kernel,
    window_strides=(1,),
    padding="VALID",
    dimension_numbers=("NWC", "WIO", "NWC"),
  )
  return y.reshape(batch, sequences, *y.shape[1:])
