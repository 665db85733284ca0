"""Correlation along sequences, in the form that is fast on every platform."""

import jax
import jax.numpy as jnp
from jax import Array, lax


def correlate(x: Array, kernel: Array, padding: int = 0) -> Array:
  """Correlates sequences with a kernel, features last: y[l] = sum_j x[l + j] W[j].

  The form matters on CPU, where XLA has one fast path: one spatial axis and no
  padding of its own. Hence sequences are merged into one batch axis, and padded
  beforehand. The gradient with respect to the kernel leaves that path inside a loop
  over blocks, where it is 5 times slower and more; there it is computed as one matrix
  product per tap. GPU and TPU take the gradient of their own convolution.

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
  x = x.reshape(batch * sequences, -1, features)
  on_cpu = jax.default_backend() == "cpu"
  y = _correlate_taps(x, kernel) if on_cpu else _correlate(x, kernel)
  return y.reshape(batch, sequences, *y.shape[1:])


def _correlate(x: Array, kernel: Array) -> Array:
  """Correlates sequences [B, L, D] with a kernel [J, D, E]."""
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1,),
    padding="VALID",
    dimension_numbers=("NWC", "WIO", "NWC"),
  )


@jax.custom_vjp
def _correlate_taps(x: Array, kernel: Array) -> Array:
  """The same with gradients that are fast on CPU everywhere."""
  return _correlate(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return _correlate(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
  x, kernel = saved
  taps, features, outputs = kernel.shape
  length = grad.shape[1]
  padded = jnp.pad(grad, ((0, 0), (taps - 1, taps - 1), (0, 0)))
  grad_x = _correlate(padded, jnp.swapaxes(kernel[::-1], 1, 2))
  flat = grad.reshape(-1, outputs)
  grad_kernel = jnp.stack(
    [x[:, tap : tap + length].reshape(-1, features).T @ flat for tap in range(taps)]
  )
  return grad_x, grad_kernel


_correlate_taps.defvjp(_forward, _backward)
