"""Losses between reference and estimated signals: thresholded negative SNR.

All of them work in float32, whatever the precision of the estimates, and are
finite with finite gradients for silent references, estimates and mixtures.
"""

import jax
import jax.numpy as jnp

TAU = 1e-3  # soft threshold: the loss does not reward an SNR beyond 30 dB
EPS = 1e-8  # keeps the logarithms finite for silence


def energy(signals: jax.Array) -> jax.Array:
  """Sum the squares of samples, in float32.

  Args:
    signals: waveforms [..., L].

  Returns:
    energies [...].
  """
  return jnp.sum(jnp.square(signals.astype(jnp.float32)), axis=-1)


def decibels(ratio: jax.Array) -> jax.Array:
  """Convert a power ratio to dB."""
  return 10.0 * jnp.log10(ratio)


def loss_from_energies(
  error: jax.Array, reference: jax.Array, tau: float = TAU
) -> jax.Array:
  """Compute the thresholded negative SNR of a given error energy (paper, equation 4).

  Args:
    error: energy of reference minus estimate [...].
    reference: energy of the reference [...].
    tau: soft threshold, as a power ratio.

  Returns:
    losses [...] in dB.
  """
  return decibels(error + tau * reference + EPS) - decibels(reference + EPS)


def thresholded_snr_loss(
  references: jax.Array, estimates: jax.Array, tau: float = TAU
) -> jax.Array:
  """Compute the thresholded negative SNR of every signal (paper, equation 4).

  Args:
    references: waveforms [..., L].
    estimates: waveforms of the same shape.
    tau: soft threshold: 1e-3 clamps the SNR at 30 dB.

  Returns:
    losses [...] in dB, lower is better. Callers average over channels.

  Raises:
    ValueError: the shapes differ.
  """
  _check_equal_shapes(references, estimates)
  references = references.astype(jnp.float32)
  error = energy(references - estimates.astype(jnp.float32))
  return loss_from_energies(error, energy(references), tau)


def inactive_snr_loss(
  references: jax.Array,
  estimates: jax.Array,
  mixture: jax.Array | None = None,
  tau: float = TAU,
  active_db: float = -60.0,
  inactive_weight: float = 0.1,
) -> jax.Array:
  """Compute a thresholded negative SNR that accepts silent stems (paper, section 4.3).

  Per channel, a stem is active where its power is above `active_db` of the
  mixture's. An active stem has the loss of equation 4. For an inactive one the
  energy of the error counts, with a threshold set by the mixture:
  `inactive_weight * 10 log10(error + tau * mixture + EPS)`.

  Args:
    references: stems [B, N, C, L].
    estimates: estimated stems [B, N, C, L].
    mixture: mixture [B, C, L]; None stands for the sum of the references.
    tau: soft threshold, as a power ratio.
    active_db: power over the mixture's, in dB, above which a stem is active.
    inactive_weight: weight of the loss of inactive stems.

  Returns:
    losses [B, C] in dB: the mean over stems.

  Raises:
    ValueError: the shapes do not fit.
  """
  _check_equal_shapes(references, estimates)
  if references.ndim != 4:
    raise ValueError(f"references must be [B, N, C, L], not {references.shape}")
  references = references.astype(jnp.float32)
  estimates = estimates.astype(jnp.float32)
  if mixture is None:
    mixture = jnp.sum(references, axis=1)
  if mixture.shape != references.shape[:1] + references.shape[2:]:
    raise ValueError(
      f"mixture must be [B, C, L] for references {references.shape}, "
      f"not {mixture.shape}"
    )
  error = energy(references - estimates)  # [B, N, C]
  power = energy(references)
  mixture_power = jnp.broadcast_to(energy(mixture)[:, None, :], power.shape)
  active = power > 10.0 ** (active_db / 10.0) * mixture_power
  active_loss = loss_from_energies(error, power, tau)
  inactive_loss = decibels(error + tau * mixture_power + EPS)
  losses = jnp.where(active, active_loss, inactive_weight * inactive_loss)
  return jnp.mean(losses, axis=1)


def _check_equal_shapes(references: jax.Array, estimates: jax.Array) -> None:
  """Raise a ValueError unless both have the same shape."""
  if references.shape != estimates.shape:
    raise ValueError(
      f"references {references.shape} and estimates {estimates.shape} differ in shape"
    )
