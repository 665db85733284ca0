"""Losses between reference and estimated signals: thresholded negative SNR.

All of them work in float32, whatever the precision of the estimates, and are
finite with finite gradients for silent references, estimates and mixtures.
"""

import jax
import jax.numpy as jnp

TAU = 1e-3  # soft threshold: the loss does not reward an SNR beyond 30 dB
EPS = 1e-8  # keeps the logarithms finite for silence


def energy(signals: jax.Array) -> jax.Array:
  """Sum of squares over samples, in float32.

  Args:
    signals: Waveforms [..., L].

  Returns:
    Energies [...].
  """
  return jnp.sum(jnp.square(signals.astype(jnp.float32)), axis=-1)


def decibels(ratio: jax.Array) -> jax.Array:
  """Power ratio in dB."""
  return 10.0 * jnp.log10(ratio)


def loss_from_energies(
  error: jax.Array, reference: jax.Array, tau: float = TAU
) -> jax.Array:
  """Thresholded negative SNR of a given error energy (paper, equation 4).

  Args:
    error: Energy of reference minus estimate [...].
    reference: Energy of the reference [...].
    tau: Soft threshold, as a power ratio.

  Returns:
    Losses [...] in dB.
  """
  return decibels(error + tau * reference + EPS) - decibels(reference + EPS)


def thresholded_snr_loss(
  references: jax.Array, estimates: jax.Array, tau: float = TAU
) -> jax.Array:
  """Thresholded negative SNR (paper, equation 4), one value per signal.

  Args:
    references: Waveforms [..., L].
    estimates: Waveforms of the same shape.
    tau: Soft threshold: 1e-3 clamps the SNR at 30 dB.

  Returns:
    Losses [...] in dB, lower is better. Callers average over channels.

  Raises:
    ValueError: The shapes differ.
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
  """Thresholded negative SNR that accepts silent stems (paper, section 4.3).

  Per channel, a stem is active where its power is above `active_db` of the
  mixture's. An active stem has the loss of equation 4; for an inactive one the
  energy of the error counts, with the threshold set by the mixture:
  `inactive_weight * 10 log10(error + tau * mixture + EPS)`.

  Args:
    references: Stems [B, N, C, L].
    estimates: Estimated stems [B, N, C, L].
    mixture: Mixture [B, C, L]; None stands for the sum of the references.
    tau: Soft threshold, as a power ratio.
    active_db: Power over the mixture's, in dB, above which a stem is active.
    inactive_weight: Weight of the loss of inactive stems.

  Returns:
    Losses [B, C] in dB: the mean over stems.

  Raises:
    ValueError: The shapes do not fit.
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
  """Raises ValueError unless both have one shape."""
  if references.shape != estimates.shape:
    raise ValueError(
      f"references {references.shape} and estimates {estimates.shape} differ in shape"
    )
