"""The losses of a batch: separator and objective brought together.

Both are computed on signals divided by the level of the mixture that is separated, so
that their small constants mean the same at any loudness.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from mixit_jax.audio.pcm import to_float32
from mixit_jax.objectives import mixit, snr
from mixit_jax.separator.bs_locoformer import estimate_masks
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.waveform import analyze, synthesize
from mixit_jax.training.config import ObjectiveConfig
from mixit_jax.training.state import Params


class PairBatch(NamedTuple):
  """Pairs of unlabeled segments.

  Attributes:
    positions: of the examples in the stream [B], uint32.
    segments: the two segments [B, 2, C, L], int16 or float32.
    ratio_db: power of the first over the second in their mixture [B], float32.
  """

  positions: Array
  segments: Array
  ratio_db: Array


class StemBatch(NamedTuple):
  """Stems of labeled or dynamic mixes.

  Attributes:
    positions: of the examples in the stream [B], uint32.
    references: the stems [B, N, C, L], int16 or float32.
    gains: what to multiply the stems by [B, N], float32.
  """

  positions: Array
  references: Array
  gains: Array


class Losses(NamedTuple):
  """What a batch gives.

  Attributes:
    loss: of each example [B] in dB.
    statistics: further values of each example, name to [B, ...].
  """

  loss: Array
  statistics: dict[str, Array]


def pretraining_loss(
  config: SeparatorConfig,
  objective: ObjectiveConfig,
  params: Params,
  batch: PairBatch,
  dropout_keys: Array | None,
) -> Losses:
  """Compute the MixIT loss of mixtures of mixtures (paper 3.1).

  The inverse transform is linear: the masks of the outputs of each mixture are summed
  before it, and the gradient comes back through two signals instead of N.

  Args:
    config: of the separator, settled for the platform.
    objective: assignment and threshold.
    params: of the separator.
    batch: pairs of segments.
    dropout_keys: one random key per example [B], or None for no dropout.
  """
  segments = to_float32(batch.segments)
  mom, mixtures = mixit.make_mixtures_of_mixtures(segments, batch.ratio_db)
  length = mom.shape[-1]

  spectrogram, scale = analyze(config, mom)
  mixtures = mixtures / scale[:, None, :, None]

  masks = estimate_masks(config, params, spectrogram, dropout_keys)

  estimates = synthesize(config, lax.stop_gradient(masks), spectrogram, length)
  mix_matrix = mixit.assign(estimates, mixtures, objective.assignment, objective.tau)

  remixed = synthesize(config, sum_masks(masks, mix_matrix), spectrogram, length)
  loss = mixit.mixit_loss(remixed, mixtures, objective.tau)

  return Losses(
    loss,
    mixit.mixit_statistics(loss, estimates, mixtures, mix_matrix, tau=objective.tau),
  )


def finetuning_loss(
  config: SeparatorConfig,
  objective: ObjectiveConfig,
  params: Params,
  batch: StemBatch,
  dropout_keys: Array | None,
) -> Losses:
  """Compute the supervised loss, which accepts silent stems (paper 4.3).

  Args:
    config: of the separator, settled for the platform.
    objective: threshold.
    params: of the separator.
    batch: stems, whose sum, after the gains, is the mixture.
    dropout_keys: one random key per example [B], or None for no dropout.
  """
  references = to_float32(batch.references) * batch.gains[..., None, None]
  mixture = jnp.sum(references, axis=1)

  spectrogram, scale = analyze(config, mixture)
  references = references / scale[:, None, :, None]

  masks = estimate_masks(config, params, spectrogram, dropout_keys)

  estimates = synthesize(config, masks, spectrogram, mixture.shape[-1])
  loss = snr.inactive_snr_loss(references, estimates, tau=objective.tau)  # [B, C]
  return Losses(jnp.mean(loss, axis=1), {})


def sum_masks(masks: Array, mix_matrix: Array) -> Array:
  """Sum the masks [B, N, C, T, F] of each mixture, by an assignment [B, M, N].

  Returns:
    Masks [B, M, C, T, F].
  """
  chosen = mix_matrix[..., None, None, None] > 0  # [B, M, N, 1, 1, 1]
  sums = [
    jnp.sum(jnp.where(chosen[:, m], masks, 0), axis=1) for m in range(chosen.shape[1])
  ]
  return jnp.stack(sums, axis=1)


def example_keys(seed: int, positions: Array) -> Array:
  """Derive dropout keys [B] from the run's seed and the examples' positions [B]."""
  key = jax.random.key(seed)
  return jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
