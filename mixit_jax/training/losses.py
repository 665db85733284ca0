"""The loss of a batch: separator and objective brought together.

Both losses are computed on signals divided by the level of the mixture that is
separated, so that their small constants mean the same at any loudness.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mixit_jax.objectives import mixit, snr
from mixit_jax.separator.bs_locoformer import Separator
from mixit_jax.training.config import ObjectiveConfig
from mixit_jax.training.state import Params

Batch = dict[str, jax.Array]
Loss = Callable[
  [Params, Batch, jax.Array | None], tuple[jax.Array, dict[str, jax.Array]]
]


def make_loss(separator: Separator, config: ObjectiveConfig) -> Loss:
  """Loss of a batch for the configured objective.

  Returns:
    Function of (params, batch, dropout keys [B] or None) to the loss of each example
    [B] in dB and a dict of further values of each example [B, ...].
  """
  return {"mixit": _mixit_loss, "stems": _stems_loss}[config.kind](separator, config)


def _mixit_loss(separator: Separator, config: ObjectiveConfig) -> Loss:
  """Pre-training (paper 3.1): `segments` [B, 2, C, L] and `ratio_db` [B]."""

  def loss(params: Params, batch: Batch, keys: jax.Array | None) -> tuple:
    mom, mixtures = mixit.make_mixtures_of_mixtures(
      batch["segments"], batch["ratio_db"]
    )

    def assign(estimates: jax.Array, scale: jax.Array) -> jax.Array:
      targets = mixtures / scale[:, None, :, None]
      return mixit.assign(estimates, targets, config.assignment, config.tau)

    result: Any = separator.apply(
      {"params": params}, mom, assign, keys, method="separate_remixed"
    )
    remixed, estimates, mix_matrix, scale = result
    targets = mixtures / scale[:, None, :, None]
    values = mixit.remixed_loss(remixed, targets, config.tau)
    return values, mixit.mixit_statistics(
      values, estimates, targets, mix_matrix, tau=config.tau
    )

  return loss


def _stems_loss(separator: Separator, config: ObjectiveConfig) -> Loss:
  """Supervised training (paper 4.3): `references` [B, N, C, L]."""

  def loss(params: Params, batch: Batch, keys: jax.Array | None) -> tuple:
    references = batch["references"]
    mixture = jnp.sum(references, axis=1)
    result: Any = separator.apply(
      {"params": params}, mixture, keys, method="separate_normalized"
    )
    estimates, scale = result
    references = references / scale[:, None, :, None]
    values = snr.inactive_snr_loss(references, estimates, tau=config.tau)
    return jnp.mean(values.reshape(len(values), -1), axis=-1), {}

  return loss
