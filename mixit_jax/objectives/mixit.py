"""Mixture invariant training: mixtures of mixtures, assignments and the loss.

A mixture of mixtures (mom) is the sum of two mixtures. A model separates it into
N outputs, every output is assigned to one of the two mixtures, and the loss
compares the two sums with the mixtures (paper, section 3.1).

Both assignments start from the Gram matrix of the outputs and their cross
products with the mixtures, so that the waveforms are read once, however many
assignments are compared.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from mixit_jax.errors import UserError
from mixit_jax.objectives.assignment import (
  PRECISION,
  TIE_DB,
  all_losses,
  inner_products,
  least_squares,
)
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


def make_mixtures_of_mixtures(
  segments: jax.Array, ratio_db: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Scale the first segment of each pair and sum the pair (paper, section 3.1).

  Where either segment is silent (mean power below -90 dB of full scale) the pair
  is summed without scaling.

  Args:
    segments: pairs of segments [B, 2, C, L].
    ratio_db: power of the first over the second after scaling [B], in dB.

  Returns:
    mixtures of mixtures [B, C, L] and their mixtures [B, 2, C, L], float32.

  Raises:
    ValueError: the segments do not come in pairs.
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
  """Sum the outputs that are assigned to each mixture.

  Args:
    estimates: outputs [B, N, C, L].
    mix_matrix: assignment [B, 2, N].

  Returns:
    estimated mixtures [B, 2, C, L], float32.
  """
  batch, num_sources, num_channels, length = estimates.shape
  flat = estimates.astype(jnp.float32).reshape(batch, num_sources, -1)
  mixed = jnp.einsum("bin,bnl->bil", mix_matrix, flat, precision=PRECISION)
  return mixed.reshape(batch, 2, num_channels, length)


def mixit_loss(remixed: jax.Array, mixtures: jax.Array, tau: float = TAU) -> jax.Array:
  """Compute the MixIT loss of outputs that are summed as assigned (paper, eq. 2).

  Args:
    remixed: sums of the outputs of each mixture [B, 2, C, L], see `remix`.
    mixtures: the two mixtures of each mom [B, 2, C, L].
    tau: soft threshold, as a power ratio.

  Returns:
    losses [B] in dB: the mean over both mixtures and all channels.
  """
  return jnp.mean(thresholded_snr_loss(mixtures, remixed, tau), axis=(1, 2))


def assign(
  estimates: jax.Array,
  mixtures: jax.Array,
  assignment: Assignment = "efficient",
  tau: float = TAU,
) -> jax.Array:
  """Assign outputs to mixtures.

  Args:
    estimates: outputs [B, N, C, L].
    mixtures: the two mixtures of each mom [B, 2, C, L].
    assignment: "efficient" (least squares, equation 3) or "exact" (all 2^N).
    tau: soft threshold, as a power ratio.

  Returns:
    assignment [B, 2, N] of zeros and ones, float32.

  Raises:
    UserError: the assignment is unknown, or exact with more than 16 outputs.
    ValueError: the shapes do not fit.
  """
  if assignment == "efficient":
    return assign_least_squares(estimates, mixtures)
  if assignment == "exact":
    return assign_exact(estimates, mixtures, tau)
  raise UserError(
    f"assignment must be 'efficient' or 'exact', but is {assignment!r}: "
    "choose one of the two"
  )


def assign_least_squares(
  estimates: jax.Array, mixtures: jax.Array, channels: Channels = "all"
) -> jax.Array:
  """Assign outputs by least squares (paper, equation 3).

  Both mixtures are regressed on the outputs, and each output goes to the mixture
  where its coefficient is larger; at a tie, as for a silent output, to the first.
  The normal equations are solved for outputs of unit energy, with a relative
  loading of the diagonal of 1e-5 that keeps identical outputs solvable.

  Args:
    estimates: outputs [B, N, C, L].
    mixtures: the two mixtures of each mom [B, 2, C, L].
    channels: "all", or "left" for what the paper's implementation does.

  Returns:
    assignment [B, 2, N] of zeros and ones, float32.

  Raises:
    ValueError: the shapes do not fit.
  """
  if channels not in ("all", "left"):
    raise ValueError(f"channels must be 'all' or 'left', not {channels!r}")
  products = inner_products(estimates, mixtures)
  used = slice(None) if channels == "all" else slice(0, 1)
  return least_squares(
    jnp.sum(products.gram[:, used], axis=1), jnp.sum(products.cross[:, used], axis=1)
  )


def assign_exact(
  estimates: jax.Array, mixtures: jax.Array, tau: float = TAU
) -> jax.Array:
  """Assign outputs by searching all 2^N assignments for the lowest loss.

  The loss is `mixit_loss`. The error of every assignment follows from inner
  products, in float32: P - 2 a.X + a.G.a. Where outputs are much louder than the
  mixtures and cancel each other, this difference loses its digits. So it is clipped
  at zero, and a last comparison on waveforms keeps the least-squares assignment
  where that one is better.

  Assignments whose losses differ by less than 1e-5 dB count as equal, and the one
  of lowest code wins; bit n of a code is set where output n goes to the second
  mixture. Memory is [B, 2^N, C].

  Args:
    estimates: outputs [B, N, C, L], N up to 16.
    mixtures: the two mixtures of each mom [B, 2, C, L].
    tau: soft threshold, as a power ratio.

  Returns:
    assignment [B, 2, N] of zeros and ones, float32.

  Raises:
    UserError: there are more than 16 outputs.
    ValueError: the shapes do not fit.
  """
  num_sources = estimates.shape[1]
  if num_sources > MAX_EXACT_OUTPUTS:
    raise UserError(
      f"the exact assignment compares 2^N assignments and takes at most "
      f"{MAX_EXACT_OUTPUTS} outputs, but the model has {num_sources}: use the "
      "'efficient' assignment or fewer outputs"
    )
  products = inner_products(estimates, mixtures)
  losses = all_losses(products, tau)  # [B, 2^N]
  best = jnp.min(losses, axis=1, keepdims=True)
  code = jnp.argmax(losses <= best + TIE_DB, axis=1)  # [B]
  bits = (code[:, None] >> jnp.arange(num_sources)[None, :]) & 1
  searched = jnp.stack([1 - bits, bits], axis=1).astype(jnp.float32)
  regressed = least_squares(
    jnp.sum(products.gram, axis=1), jnp.sum(products.cross, axis=1)
  )
  gain = mixit_loss(remix(estimates, searched), mixtures, tau) - mixit_loss(
    remix(estimates, regressed), mixtures, tau
  )
  return jnp.where((gain > TIE_DB)[:, None, None], regressed, searched)


def trivial_split_loss(
  mixtures: jax.Array, num_sources: int, tau: float = TAU
) -> jax.Array:
  """Compute the MixIT loss of outputs that all equal mom / N, assigned in the best way.

  A model that has learned nothing reaches this loss by copying its input.

  Args:
    mixtures: the two mixtures of each mom [B, 2, C, L].
    num_sources: number of outputs N.
    tau: soft threshold, as a power ratio.

  Returns:
    losses [B] in dB.
  """
  mixtures = mixtures.astype(jnp.float32)
  power = energy(mixtures)[:, :, :, None]  # [B, 2, C, 1]
  inner = jnp.sum(mixtures[:, 0] * mixtures[:, 1], axis=-1)[:, :, None]  # [B, C, 1]
  first = jnp.arange(num_sources + 1, dtype=jnp.float32) / num_sources
  first = first[None, None, :]  # share of the mom that goes to the first mixture
  second = 1.0 - first

  def error(lacking: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
    """Compute the energy of lacking * x_own - (1 - lacking) * x_other [B, C, N + 1]."""
    extra = 1.0 - lacking
    squared = lacking**2 * own - 2.0 * lacking * extra * inner + extra**2 * other
    return jnp.maximum(squared, 0.0)

  losses = loss_from_energies(
    error(second, power[:, 0], power[:, 1]), power[:, 0], tau
  ) + loss_from_energies(error(first, power[:, 1], power[:, 0]), power[:, 1], tau)
  return jnp.min(jnp.mean(losses, axis=1) / 2.0, axis=-1)


def mixit_statistics(
  loss: jax.Array,
  estimates: jax.Array,
  mixtures: jax.Array,
  mix_matrix: jax.Array,
  tau: float = TAU,
  active_db: float = -40.0,
) -> dict[str, jax.Array]:
  """Measure what distinguishes a model that separates from one that has collapsed.

  Args:
    loss: MixIT loss [B] in dB.
    estimates: outputs [B, N, C, L].
    mixtures: the two mixtures of each mom [B, 2, C, L].
    mix_matrix: assignment [B, 2, N].
    tau: soft threshold, as a power ratio.
    active_db: energy relative to the mom, in dB, above which an output is active.

  Returns:
    a dictionary of values per example:
    `improvement_db` [B], trivial split loss minus loss: about 0 for a model that
    copies its input, positive once it separates;
    `active_outputs` [B], the number of outputs above `active_db`;
    `assignment_entropy` [B], in bits, of the share of active outputs that goes to
    each mixture: 1 for halves, 0 where one mixture gets all of them, which a
    collapsed model shows in most examples;
    `output_energy_db` [B, N], energy of each output relative to the mom, at least
    -100 dB.
  """
  trivial = trivial_split_loss(mixtures, estimates.shape[1], tau)
  mom = jnp.sum(mixtures.astype(jnp.float32), axis=1)
  mom_energy = jnp.sum(energy(mom), axis=-1)  # [B]
  share = jnp.sum(energy(estimates), axis=-1) / (mom_energy + EPS)[:, None]  # [B, N]
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
