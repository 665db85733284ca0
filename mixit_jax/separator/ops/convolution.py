"""Correlation along sequences."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from mixit_jax.devices.platforms import by_platform


def correlate(
  x: Array, kernel: Array, full: bool = False, form: str = "convolution"
) -> Array:
  """Correlate sequences with a kernel, features last: y[l] = sum_j x[l + j] W[j].

  Args:
    x: sequences [B, S, L, D].
    kernel: weights [J, D, E].
    full: pad every sequence with J - 1 zeros at both ends, so that every overlap
      with the kernel counts.
    form: "convolution"; "taps", a matrix product for each tap, summed in float32; or
      "columns", one product with the J neighbors side by side.

  Returns:
    array [B, S, L', E]; L' is L + J - 1 if full, else L - J + 1.
  """
  if form == "convolution":
    batch, sequences, length, features = x.shape
    y = _correlate(x.reshape(batch * sequences, length, features), kernel, full)
    return y.reshape(batch, sequences, *y.shape[1:])
  taps = len(kernel)
  if full:
    x = jnp.pad(x, ((0, 0), (0, 0), (taps - 1, taps - 1), (0, 0)))
  length = x.shape[2] - taps + 1
  shifted = [x[:, :, tap : tap + length] for tap in range(taps)]
  if form == "columns":
    return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, kernel.shape[-1])
  products = (
    jnp.matmul(part, tap, preferred_element_type=jnp.float32)
    for part, tap in zip(shifted, kernel, strict=True)
  )
  return functools.reduce(jnp.add, products).astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate(x: Array, kernel: Array, full: bool) -> Array:
  """Correlate sequences [S, L, D] with a kernel [J, D, E]."""
  return _convolve(x, kernel, len(kernel) - 1 if full else 0)


def _convolve(x: Array, kernel: Array, padding: int = 0) -> Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1,),
    padding=[(padding, padding)],
    dimension_numbers=("NWC", "WIO", "NWC"),
  )


def _forward(x: Array, kernel: Array, full: bool) -> tuple[Array, tuple[Array, Array]]:
  return _correlate(x, kernel, full), (x, kernel)


def _backward(
  full: bool, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
  gradients = by_platform(
    default=partial(_gradients, full=full), cpu=partial(_gradients_on_cpu, full=full)
  )
  return gradients(*saved, gradient)


_correlate.defvjp(_forward, _backward)


def _gradients(
  x: Array, kernel: Array, gradient: Array, full: bool
) -> tuple[Array, Array]:
  """Return the gradients of x and kernel as XLA derives them."""
  padding = len(kernel) - 1 if full else 0
  return jax.vjp(lambda x, w: _convolve(x, w, padding), x, kernel)[1](gradient)


def _gradients_on_cpu(
  x: Array, kernel: Array, gradient: Array, full: bool
) -> tuple[Array, Array]:
  """Return the same in the only form of a convolution that is fast on CPUs.

  That form has one spatial axis, axes in the order of `_convolve`, and no padding where
  the window is long. Inside a loop, such as the one over blocks, XLA does not convert
  other forms to it, and they are 10 to 100 times slower.
  """
  mirrored = jnp.swapaxes(kernel[::-1], 1, 2)
  padding = len(kernel) - 1
  x_gradient = _convolve(gradient, mirrored, 0 if full else padding)
  # The longer operand slides over the shorter one, and is transposed: it must be an
  # array in memory, not the result of cheap steps that would be computed in its order.
  longer = gradient
  if not full:
    longer = jnp.pad(gradient, ((0, 0), (padding, padding), (0, 0)))
  kernel_gradient = jnp.swapaxes(_overlaps(longer, x)[::-1], 1, 2)
  return x_gradient, kernel_gradient


def _overlaps(long: Array, short: Array) -> Array:
  """Sum long[s, j + l] short[s, l] over s and l, as a convolution.

  Args:
    long: sequences [S, J - 1 + L, D].
    short: sequences [S, L, E].

  Returns:
    products [J, D, E]; the features of `long` act as batch, the sequences as features.
  """
  products = _convolve(jnp.transpose(long, (2, 1, 0)), jnp.swapaxes(short, 0, 1))
  return jnp.swapaxes(products, 0, 1)
