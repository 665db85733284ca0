"""From waveforms to spectrograms at unit level and back, and separation as a whole."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

from mixit_jax.separator.bs_locoformer import BSLocoformer, estimate_masks
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.spectral import istft, level, stft

# Share of a window, at its end, in which it is below 0.01.
_WINDOW_FOOT = 1 / 32


def init(config: SeparatorConfig, key: Array) -> dict[str, Any]:
  """Draw the parameters of a separator; pure, for `jit` and `eval_shape`."""
  # Parameters do not depend on the length: a few frames are enough.
  shape = (1, config.num_channels, 4, config.n_fft // 2 + 1)
  plain = config.settled("cpu")
  return BSLocoformer(plain).init(key, jnp.zeros(shape, jnp.complex64))["params"]


def separate(
  config: SeparatorConfig,
  params: Mapping[str, Any],
  mixture: Array,
  dropout_keys: Array | None = None,
) -> Array:
  """Separate mixtures.

  Args:
    config: of the separator, settled for the platform.
    params: its parameters.
    mixture: waveforms [B, C, L], longer than n_fft / 2 samples.
    dropout_keys: one random key per example [B], or None for no dropout.

  Returns:
    estimates [B, N, C, L], float32, at the level of the mixtures.
  """
  spectrogram, scale = analyze(config, mixture)
  masks = estimate_masks(config, params, spectrogram, dropout_keys)
  estimates = synthesize(config, masks, spectrogram, mixture.shape[-1])
  return estimates * scale[:, None, :, None]


def analyze(config: SeparatorConfig, mixture: Array) -> tuple[Array, Array]:
  """Transform mixtures to spectrograms at unit level.

  Args:
    config: of the separator.
    mixture: waveforms [B, C, L], longer than n_fft / 2 samples.

  Returns:
    spectrograms [B, C, T, F], complex64, and the level of every channel [B, C] that
    they were divided by.

  Raises:
    ValueError: the mixture has another shape.
  """
  c = config
  if mixture.ndim != 3 or mixture.shape[1] != c.num_channels:
    raise ValueError(
      f"expected a mixture [B, {c.num_channels}, L], found {mixture.shape}"
    )
  length = mixture.shape[-1]
  missing = num_frames(length, c.n_fft, c.hop) * c.hop - length
  mixture = jnp.pad(mixture, ((0, 0), (0, 0), (0, max(missing, 0))))
  spectrogram = stft(mixture, c.n_fft, c.hop, drop_last=False)
  scale = level(spectrogram)
  return spectrogram[:, :, :-1] / scale[:, :, None, None], scale


def synthesize(
  config: SeparatorConfig, masks: Array, spectrogram: Array, length: int
) -> Array:
  """Apply masks [B, N, C, T, F] to a spectrogram [B, C, T, F].

  Returns:
    waveforms [B, N, C, L] of that length L, float32, at the level of the spectrogram.
  """
  return istft(masks * spectrogram[:, None], config.n_fft, config.hop, length)


def num_frames(length: int, n_fft: int, hop: int) -> int:
  """Count the frames that are separated for a mixture of `length` samples.

  The last of the L // hop + 1 frames is dropped. Where only the foot of a window is
  left for the last samples, the inverse would amplify what a mask adds there, so the
  mixture is padded with zeros. The paper's lengths (6 and 12 s at 44.1 kHz) need none.
  """
  reach = round((1 / 2 - _WINDOW_FOOT) * n_fft)  # of a frame past its center
  return max(length // hop, -(-(length - reach) // hop) + 1)
