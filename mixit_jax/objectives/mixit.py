"""Mixture invariant training: mixtures of mixtures, assignments and the loss.

A mixture of mixtures (mom) is the sum of two mixtures. A model separates it into
N outputs, every output is assigned to one of the two mixtures, and the loss
compares the two sums with the mixtures (paper, section 3.1).

Both assignments start from the Gram matrix of the outputs and their cross
products with the mixtures, so that the waveforms are read once, whatever the
number of assignments that are weighed.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.objectives.snr import (
  EPS,
  TAU,
  energy,
  loss_from_energies,
  thresholded_snr_loss,
)

Assignment = Literal["efficient", "exact"]
Channels = Literal["all", "left"]

MAX_EXACT_OUTPUTS = 16
# Below this mean power a segment counts as silent and is never scaled up.
SILENT_POWER = 1e-9
# Least squares: energy added to each output, relative to its own. Float32 products
# of 6 s of audio are good to 4e-7.
DIAGONAL_LOADING = 1e-5
# Losses closer than this are equal within the rounding of float32.
TIE_DB = 1e-4

# TF32 or bfloat16 products would drown the small differences between assignments.
_PRECISION = jax.lax.Precision.HIGHEST


class _Products(NamedTuple):
  """Inner products per channel: all that an assignment needs to know."""

  gram: jax.Array  # [B, C, N, N] outputs with outputs
  cross: jax.Array  # [B, C, 2, N] mixtures with outputs
  power: jax.Array  # [B, C, 2] mixtures with themselves


def make_mixtures_of_mixtures(
  segments: jax.Array, ratio_db: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Scales the first segment of each pair and sums the pair (paper, section 3.1).

  Where either segment is silent (mean power below -90 dB of full scale) the pair
  is summed as it is.

  Args:
    segments: Pairs of segments [B, 2, C, L].
    ratio_db: Power of the first over the second after scaling [B], in dB.

  Returns:
    Mixtures of mixtures [B, C, L] and their mixtures [B, 2, C, L], float32.
  """
  if segments.ndim != 4 or segments.shape[1] != 2:
    raise ValueError(f"segments must be [B, 2, C, L], not {segments.shape}")
  segments = segments.astype(jnp.float32)
  power = jnp.mean(jnp.square(segments), axis=(2, 3))  # [B, 2]
  sounding = jnp.all(power > SILENT_POWER, axis=1)
  ratio = jnp.where(sounding, power[:, 0] / jnp.where(sounding, power[:, 1], 1.0), 1.0)
  wanted = jnp.where(sounding, 10.0 ** (ratio_db.astype(jnp.float32) / 10.0), 1.0)
  gain = jnp.sqrt(wanted / ratio)
  gains = jnp.stack([gain, jnp.ones_like(gain)], axis=1)
  mixtures = segments * gains[:, :, None, None]
  return jnp.sum(mixtures, axis=1), mixtures


def remix(estimates: jax.Array, mix_matrix: jax.Array) -> jax.Array:
  """Sums the outputs that are assigned to each mixture.

  Args:
    estimates: Outputs [B, N, C, L].
    mix_matrix: Assignment [B, 2, N].

  Returns:
    Estimated mixtures [B, 2, C, L], float32.
  """
  batch, num_sources, num_channels, length = estimates.shape
  flat = estimates.astype(jnp.float32).reshape(batch, num_sources, -1)
  mixed = jnp.einsum("bin,bnl->bil", mix_matrix, flat, precision=_PRECISION)
  return mixed.reshape(batch, 2, num_channels, length)


def assigned_loss(
  estimates: jax.Array,
  mixtures: jax.Array,
  mix_matrix: jax.Array,
  tau: float = TAU,
  eps: float = EPS,
) -> jax.Array:
  """Thresholded SNR loss of a given assignment.

  Args:
    estimates: Outputs [B, N, C, L].
    mixtures: The two mixtures of each mom [B, 2, C, L].
    mix_matrix: Assignment [B, 2, N].
    tau: Soft threshold, as a power ratio.
    eps: Energy that is added inside the logarithms.

  Returns:
    Losses [B] in dB: the mean over both mixtures and all channels.
  """
  mixed = remix(estimates, mix_matrix)
  return jnp.mean(thresholded_snr_loss(mixtures, mixed, tau, eps), axis=(1, 2))


def mixit_loss(
  estimates: jax.Array,
  mixtures: jax.Array,
  assignment: Assignment = "efficient",
  tau: float = TAU,
  eps: float = EPS,
) -> tuple[jax.Array, jax.Array]:
  """MixIT loss (paper, equation 2). No gradient flows through the assignment.

  Args:
    estimates: Outputs [B, N, C, L].
    mixtures: The two mixtures of each mom [B, 2, C, L].
    assignment: "efficient" (least squares, equation 3) or "exact" (all 2^N).
    tau: Soft threshold, as a power ratio.
    eps: Energy that is added inside the logarithms.

  Returns:
    Losses [B] in dB and the assignment [B, 2, N].

  Raises:
    UserError: The assignment is unknown, or exact with more than 16 outputs.
    ValueError: The shapes do not fit.
  """
  frozen = jax.lax.stop_gradient(estimates)
  if assignment == "efficient":
    mix_matrix = assign_least_squares(frozen, mixtures)
  elif assignment == "exact":
    mix_matrix = assign_exact(frozen, mixtures, tau, eps)
  else:
    raise UserError(
      f"assignment must be 'efficient' or 'exact', but is {assignment!r}: "
      "choose one of the two"
    )
  mix_matrix = jax.lax.stop_gradient(mix_matrix)
  return assigned_loss(estimates, mixtures, mix_matrix, tau, eps), mix_matrix


def assign_least_squares(
  estimates: jax.Array, mixtures: jax.Array, channels: Channels = "all"
) -> jax.Array:
  """Assigns outputs by least squares (paper, equation 3).

  Both mixtures are regressed on the outputs, and each output goes to the mixture
  where its coefficient is larger; at a tie, as for a silent output, to the first.
  The normal equations are solved for outputs of unit energy, with a relative
  loading of the diagonal of 1e-5 that keeps identical outputs solvable.

  Args:
    estimates: Outputs [B, N, C, L].
    mixtures: The two mixtures of each mom [B, 2, C, L].
    channels: "all", or "left" for what the paper's implementation does.

  Returns:
    Assignment [B, 2, N] of zeros and ones, float32.

  Raises:
    ValueError: The shapes do not fit.
  """
  if channels not in ("all", "left"):
    raise ValueError(f"channels must be 'all' or 'left', not {channels!r}")
  products = _inner_products(estimates, mixtures)
  used = slice(None) if channels == "all" else slice(0, 1)
  return _least_squares(
    jnp.sum(products.gram[:, used], axis=1), jnp.sum(products.cross[:, used], axis=1)
  )


def assign_exact(
  estimates: jax.Array, mixtures: jax.Array, tau: float = TAU, eps: float = EPS
) -> jax.Array:
  """Assigns outputs by searching all 2^N assignments for the lowest loss.

  The loss is that of `assigned_loss`. The error of every assignment follows from
  inner products, in float32: P - 2 a.X + a.G.a. Where outputs are much louder than
  the mixtures and cancel each other this difference loses its digits. So it is
  clipped at zero, and a last comparison on waveforms keeps the least-squares
  assignment where that one is better.

  Assignments whose losses differ by less than 1e-4 dB count as equal, and the one
  of lowest code wins; bit n of a code is set where output n goes to the second
  mixture. Memory is [B, 2^N, C].

  Args:
    estimates: Outputs [B, N, C, L], N up to 16.
    mixtures: The two mixtures of each mom [B, 2, C, L].
    tau: Soft threshold, as a power ratio.
    eps: Energy that is added inside the logarithms.

  Returns:
    Assignment [B, 2, N] of zeros and ones, float32.

  Raises:
    UserError: There are more than 16 outputs.
    ValueError: The shapes do not fit.
  """
  num_sources = estimates.shape[1]
  if num_sources > MAX_EXACT_OUTPUTS:
    raise UserError(
      f"the exact assignment weighs 2^N assignments and takes at most "
      f"{MAX_EXACT_OUTPUTS} outputs, but the model has {num_sources}: use the "
      "'efficient' assignment or fewer outputs"
    )
  products = _inner_products(estimates, mixtures)
  losses = _all_losses(products, tau, eps)  # [B, 2^N]
  best = jnp.min(losses, axis=1, keepdims=True)
  code = jnp.argmax(losses <= best + TIE_DB, axis=1)  # [B]
  bits = (code[:, None] >> jnp.arange(num_sources)[None, :]) & 1
  searched = jnp.stack([1 - bits, bits], axis=1).astype(jnp.float32)
  regressed = _least_squares(
    jnp.sum(products.gram, axis=1), jnp.sum(products.cross, axis=1)
  )
  gain = assigned_loss(estimates, mixtures, searched, tau, eps) - assigned_loss(
    estimates, mixtures, regressed, tau, eps
  )
  return jnp.where((gain > TIE_DB)[:, None, None], regressed, searched)


def trivial_split_loss(
  mixtures: jax.Array, num_sources: int, tau: float = TAU, eps: float = EPS
) -> jax.Array:
  """MixIT loss of outputs that all equal mom / N, under the best assignment.

  A model that has learned nothing reaches this loss by copying its input.

  Args:
    mixtures: The two mixtures of each mom [B, 2, C, L].
    num_sources: Number of outputs N.
    tau: Soft threshold, as a power ratio.
    eps: Energy that is added inside the logarithms.

  Returns:
    Losses [B] in dB.
  """
  mixtures = mixtures.astype(jnp.float32)
  power = energy(mixtures)[:, :, :, None]  # [B, 2, C, 1]
  inner = jnp.sum(mixtures[:, 0] * mixtures[:, 1], axis=-1)[:, :, None]  # [B, C, 1]
  first = jnp.arange(num_sources + 1, dtype=jnp.float32) / num_sources
  first = first[None, None, :]  # share of the mom that goes to the first mixture
  second = 1.0 - first

  def error(lacking: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
    """Energy of lacking * x_own - (1 - lacking) * x_other [B, C, N + 1]."""
    extra = 1.0 - lacking
    squared = lacking**2 * own - 2.0 * lacking * extra * inner + extra**2 * other
    return jnp.maximum(squared, 0.0)

  losses = loss_from_energies(
    error(second, power[:, 0], power[:, 1]), power[:, 0], tau, eps
  ) + loss_from_energies(error(first, power[:, 1], power[:, 0]), power[:, 1], tau, eps)
  return jnp.min(jnp.mean(losses, axis=1) / 2.0, axis=-1)


def mixit_statistics(
  estimates: jax.Array,
  mixtures: jax.Array,
  mix_matrix: jax.Array,
  tau: float = TAU,
  eps: float = EPS,
  active_db: float = -40.0,
) -> dict[str, jax.Array]:
  """What tells a model that separates from one that has collapsed.

  Args:
    estimates: Outputs [B, N, C, L].
    mixtures: The two mixtures of each mom [B, 2, C, L].
    mix_matrix: Assignment [B, 2, N].
    tau: Soft threshold, as a power ratio.
    eps: Energy that is added inside the logarithms.
    active_db: Energy relative to the mom, in dB, above which an output is active.

  Returns:
    A dictionary of values per example:
    `improvement_db` [B], trivial split loss minus loss: about 0 for a model that
    copies its input, positive once it separates;
    `active_outputs` [B], the number of outputs above `active_db`;
    `assignment_entropy` [B], in bits, of the share of active outputs that goes to
    each mixture: 1 for halves, 0 where one mixture gets all of them, which a
    collapsed model shows in most examples;
    `output_energy_db` [B, N], energy of each output relative to the mom, at least
    -100 dB.
  """
  loss = assigned_loss(estimates, mixtures, mix_matrix, tau, eps)
  trivial = trivial_split_loss(mixtures, estimates.shape[1], tau, eps)
  mom = jnp.sum(mixtures.astype(jnp.float32), axis=1)
  mom_energy = jnp.sum(energy(mom), axis=-1)  # [B]
  share = jnp.sum(energy(estimates), axis=-1) / (mom_energy + eps)[:, None]  # [B, N]
  energy_db = 10.0 * jnp.log10(jnp.maximum(share, 1e-10))
  active = (energy_db > active_db).astype(jnp.float32)
  num_active = jnp.sum(active, axis=1)
  assigned = jnp.sum(mix_matrix * active[:, None, :], axis=2)  # [B, 2]
  portion = assigned / jnp.maximum(num_active, 1.0)[:, None]
  entropy = -jnp.sum(portion * jnp.log2(jnp.maximum(portion, 1e-10)), axis=1)
  return {
    "improvement_db": trivial - loss,
    "active_outputs": num_active,
    "assignment_entropy": entropy,
    "output_energy_db": energy_db,
  }


def _inner_products(estimates: jax.Array, mixtures: jax.Array) -> _Products:
  """Inner products of outputs and mixtures, per channel, in float32."""
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
  # waveforms; the blocks that pair different channels are thrown away.
  outputs = estimates.astype(jnp.float32).reshape(batch, -1, length)
  targets = mixtures.astype(jnp.float32).reshape(batch, -1, length)
  gram = jnp.einsum("bil,bjl->bij", outputs, outputs, precision=_PRECISION)
  cross = jnp.einsum("bil,bjl->bij", targets, outputs, precision=_PRECISION)
  channels = np.arange(num_channels)
  gram = gram.reshape(batch, num_sources, num_channels, num_sources, num_channels)
  cross = cross.reshape(batch, 2, num_channels, num_sources, num_channels)
  # Indexing both channel axes at once moves the channel to the front.
  return _Products(
    gram=jnp.moveaxis(gram[:, :, channels, :, channels], 0, 1),
    cross=jnp.moveaxis(cross[:, :, channels, :, channels], 0, 1),
    power=jnp.swapaxes(energy(mixtures), 1, 2),
  )


def _least_squares(gram: jax.Array, cross: jax.Array) -> jax.Array:
  """Assignment [B, 2, N] from a Gram matrix [B, N, N] and products [B, 2, N]."""
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


def _all_losses(products: _Products, tau: float, eps: float) -> jax.Array:
  """Losses [B, 2^N] of all assignments, in the order of their codes."""
  errors = _subset_errors(products)  # [B, C, 2, 2^N]
  # What the second mixture does not get goes to the first: the complement of a
  # code is its mirror image.
  first = loss_from_energies(
    errors[:, :, 0, ::-1], products.power[:, :, 0, None], tau, eps
  )
  second = loss_from_energies(errors[:, :, 1], products.power[:, :, 1, None], tau, eps)
  return jnp.mean(first + second, axis=1) / 2.0


def _subset_errors(products: _Products) -> jax.Array:
  """Energy of each mixture minus each subset of outputs, [B, C, 2, 2^N].

  A subset is split into its low and its high half: the quadratic form of the
  whole is that of the two halves and one small matrix product between them, so
  that no array larger than the result is needed.
  """
  gram, cross, power = products
  num_sources = gram.shape[-1]
  low, high = _subsets((num_sources + 1) // 2), _subsets(num_sources // 2)
  k = low.shape[1]

  def quadratic(subsets: np.ndarray, block: jax.Array) -> jax.Array:
    """Quadratic form of every subset, [B, C, subsets]."""
    product = jnp.einsum("sn,bcnm->bcsm", subsets, block, precision=_PRECISION)
    return jnp.einsum("bcsm,sm->bcs", product, subsets, precision=_PRECISION)

  def linear(subsets: np.ndarray, block: jax.Array) -> jax.Array:
    """Products of both mixtures with every subset, [B, C, 2, subsets]."""
    return jnp.einsum("bcin,sn->bcis", block, subsets, precision=_PRECISION)

  between = jnp.einsum("bcnm,sm->bcns", gram[:, :, k:, :k], low, precision=_PRECISION)
  between = jnp.einsum("tn,bcns->bcts", high, between, precision=_PRECISION)
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
  """Membership [2^n, n] of every subset of n outputs, in the order of its code."""
  codes = np.arange(2**num_sources)
  return ((codes[:, None] >> np.arange(num_sources)) & 1).astype(np.float32)
