"""Mathematics of the MixIT assignments, on inner products of the waveforms.

The errors of all assignments, and the least-squares coefficients, follow from the
Gram matrix of the outputs and their products with the mixtures. So the waveforms are
read once, however many assignments are compared.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mixit_jax.objectives.snr import energy, loss_from_energies

# Least squares: energy added to each output, relative to its own. Float32 products
# of 6 s of audio are accurate to 4e-7.
DIAGONAL_LOADING = 1e-5
# Losses closer than this, in dB, count as equal: float32 hardly tells them apart.
TIE_DB = 1e-5

# TF32 or bfloat16 products would drown the small differences between assignments.
PRECISION = jax.lax.Precision.HIGHEST


class InnerProducts(NamedTuple):
  """Inner products per channel: all that an assignment needs."""

  gram: jax.Array  # [B, C, N, N] outputs with outputs
  cross: jax.Array  # [B, C, 2, N] mixtures with outputs
  power: jax.Array  # [B, C, 2] mixtures with themselves


def inner_products(estimates: jax.Array, mixtures: jax.Array) -> InnerProducts:
  """Compute inner products of outputs and mixtures, per channel, in float32."""
  if estimates.ndim != 4 or mixtures.ndim != 4:
    raise ValueError(
      "estimates must be [B, N, C, L] and mixtures [B, 2, C, L], not "
      f"{estimates.shape} and {mixtures.shape}"
    )
  batch, num_sources, num_channels, length = estimates.shape
  if mixtures.shape != (batch, 2, num_channels, length):
    raise ValueError(
      f"mixtures must be {(batch, 2, num_channels, length)} for estimates "
      f"{estimates.shape}, not {mixtures.shape}"
    )
  # One product over (signal, channel) rows needs no transposed copy of the
  # waveforms; the blocks that pair different channels are discarded.
  outputs = estimates.astype(jnp.float32).reshape(batch, -1, length)
  targets = mixtures.astype(jnp.float32).reshape(batch, -1, length)
  gram = jnp.einsum("bil,bjl->bij", outputs, outputs, precision=PRECISION)
  cross = jnp.einsum("bil,bjl->bij", targets, outputs, precision=PRECISION)
  channels = np.arange(num_channels)
  gram = gram.reshape(batch, num_sources, num_channels, num_sources, num_channels)
  cross = cross.reshape(batch, 2, num_channels, num_sources, num_channels)
  # Indexing both channel axes at once moves the channel to the front.
  return InnerProducts(
    gram=jnp.moveaxis(gram[:, :, channels, :, channels], 0, 1),
    cross=jnp.moveaxis(cross[:, :, channels, :, channels], 0, 1),
    power=jnp.swapaxes(energy(mixtures), 1, 2),
  )


def least_squares(gram: jax.Array, cross: jax.Array) -> jax.Array:
  """Assign outputs by their Gram matrix [B, N, N] and cross products [B, 2, N]."""
  norms = jnp.diagonal(gram, axis1=1, axis2=2)  # [B, N]
  sounding = norms > 1e-30
  scale = jnp.where(sounding, jax.lax.rsqrt(jnp.where(sounding, norms, 1.0)), 0.0)
  loading = DIAGONAL_LOADING * jnp.eye(gram.shape[-1], dtype=gram.dtype)[None]
  correlation = gram * scale[:, :, None] * scale[:, None, :] + loading
  target = jnp.swapaxes(cross * scale[:, None, :], 1, 2)  # [B, N, 2]
  with jax.default_matmul_precision("highest"):
    coefficients = jnp.linalg.solve(correlation, target)
  # The scale is positive, so it does not change which coefficient is larger.
  second = coefficients[:, :, 1] > coefficients[:, :, 0]  # [B, N]
  return jnp.stack([~second, second], axis=1).astype(jnp.float32)


def all_losses(products: InnerProducts, tau: float) -> jax.Array:
  """Compute the losses [B, 2^N] of all assignments, in the order of their codes."""
  errors = _subset_errors(products)  # [B, C, 2, 2^N]
  # What the second mixture does not get goes to the first: the complement of a
  # code is its mirror image.
  first = loss_from_energies(errors[:, :, 0, ::-1], products.power[:, :, 0, None], tau)
  second = loss_from_energies(errors[:, :, 1], products.power[:, :, 1, None], tau)
  return jnp.mean(first + second, axis=1) / 2.0


def _subset_errors(products: InnerProducts) -> jax.Array:
  """Compute the energy of each mixture minus each subset of outputs, [B, C, 2, 2^N].

  A subset is split into its low and its high half: the quadratic form of the
  whole is that of the two halves and one small matrix product between them, so
  that no array larger than the result is needed.
  """
  gram, cross, power = products
  num_sources = gram.shape[-1]
  low, high = _subsets((num_sources + 1) // 2), _subsets(num_sources // 2)
  k = low.shape[1]

  def quadratic(subsets: np.ndarray, block: jax.Array) -> jax.Array:
    """Compute the quadratic form of every subset, [B, C, subsets]."""
    product = jnp.einsum("sn,bcnm->bcsm", subsets, block, precision=PRECISION)
    return jnp.einsum("bcsm,sm->bcs", product, subsets, precision=PRECISION)

  def linear(subsets: np.ndarray, block: jax.Array) -> jax.Array:
    """Compute products of both mixtures with every subset, [B, C, 2, subsets]."""
    return jnp.einsum("bcin,sn->bcis", block, subsets, precision=PRECISION)

  between = jnp.einsum("bcnm,sm->bcns", gram[:, :, k:, :k], low, precision=PRECISION)
  between = jnp.einsum("tn,bcns->bcts", high, between, precision=PRECISION)
  squares = (
    quadratic(high, gram[:, :, k:, k:])[:, :, :, None]
    + quadratic(low, gram[:, :, :k, :k])[:, :, None, :]
    + 2.0 * between
  )  # [B, C, high, low]
  sums = (
    linear(high, cross[..., k:])[..., :, None]
    + linear(low, cross[..., :k])[..., None, :]
  )  # [B, C, 2, high, low]
  errors = power[:, :, :, None, None] - 2.0 * sums + squares[:, :, None]
  return jnp.maximum(errors, 0.0).reshape(*power.shape, -1)


def _subsets(num_sources: int) -> np.ndarray:
  """Return the membership [2^n, n] of every subset of n outputs, ordered by code."""
  codes = np.arange(2**num_sources)
  return ((codes[:, None] >> np.arange(num_sources)) & 1).astype(np.float32)
