"""Correlation along sequences, in the form that is fast on every platform."""

import jax
import jax.numpy as jnp
from jax import Array, lax


def correlate(x: Array, kernel: Array, full: bool = False) -> Array:
  """Correlates sequences with a kernel, features last: y[l] = sum_j x[l + j] W[j].

  The gradient with respect to the kernel is written out, because XLA on CPU has a
  fast convolution for one form only: one spatial axis, axes in the order of
  `_convolve`, and no padding where the window is long. Inside a loop (the blocks
  are one) it does not bring others into this form, and they are 10 to 100 times
  slower. GPU and TPU differentiate their own convolution.

  Args:
    x: sequences [B, S, L, D].
    kernel: weights [J, D, E].
    full: pad every sequence with J - 1 zeros at both ends, so that every overlap
      with the kernel counts.

  Returns:
    Array [B, S, L', E]; L' is L + J - 1 if full, else L - J + 1.
  """
  batch, sequences, length, features = x.shape
  x = x.reshape(batch * sequences, length, features)
  on_cpu = jax.default_backend() == "cpu"
  y = (_correlate_on_cpu if on_cpu else _correlate)(x, kernel, full)
  return y.reshape(batch, sequences, *y.shape[1:])


def _correlate(x: Array, kernel: Array, full: bool) -> Array:
  """Correlates sequences [S, L, D] with a kernel [J, D, E]."""
  return _convolve(x, kernel, len(kernel) - 1 if full else 0)


def _convolve(x: Array, kernel: Array, padding: int = 0) -> Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1,),
    padding=[(padding, padding)],
    dimension_numbers=("NWC", "WIO", "NWC"),
  )


_correlate_on_cpu = jax.custom_vjp(_correlate, nondiff_argnums=(2,))


def _forward(x: Array, kernel: Array, full: bool) -> tuple[Array, tuple[Array, Array]]:
  return _correlate(x, kernel, full), (x, kernel)


def _backward(
  full: bool, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
  x, kernel = saved
  mirrored = jnp.swapaxes(kernel[::-1], 1, 2)
  x_gradient = _correlate(gradient, mirrored, not full)
  # The longer operand slides over the shorter one, and is transposed: it must be an
  # array in memory, not the result of cheap steps that would be computed in its order.
  longer = gradient
  if not full:
    padding = len(kernel) - 1
    longer = jnp.pad(gradient, ((0, 0), (padding, padding), (0, 0)))
  kernel_gradient = jnp.swapaxes(_overlaps(longer, x)[::-1], 1, 2)
  return x_gradient, kernel_gradient


def _overlaps(long: Array, short: Array) -> Array:
  """Sums long[s, j + l] short[s, l] over s and l, as a convolution.

  Args:
    long: sequences [S, J - 1 + L, D].
    short: sequences [S, L, E].

  Returns:
    Products [J, D, E]; the features of `long` act as batch, the sequences as features.
  """
  products = _convolve(jnp.transpose(long, (2, 1, 0)), jnp.swapaxes(short, 0, 1))
  return jnp.swapaxes(products, 0, 1)


_correlate_on_cpu.defvjp(_forward, _backward)
