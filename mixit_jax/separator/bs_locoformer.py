"""Band-split TF-Locoformer: mixtures in, sources out (paper 4.2).

A mixture's spectrogram is cut into bands of bins, each band becomes D features
(`BandSplit`), TF-Locoformer blocks model the features over bands and frames, and
`MaskDecoder` turns them into one complex mask per source and channel.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from mixit_jax.audio.spectral import istft, level, stft
from mixit_jax.separator.bandwise import BandSplit, MaskDecoder
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.layers import SAVED_PRODUCTS, TFLocoformerBlock

__all__ = ["BandSplit", "MaskDecoder", "Separator", "SeparatorConfig", "num_frames"]

# Share of a window at its end where it is below 0.01.
_WINDOW_FOOT = 1 / 32


class Separator(nn.Module):
  """The whole model, from waveform to waveforms.

  Its parameters have three entries: "band_split", "blocks" (every leaf stacked
  over the blocks) and "decoder".

  Attributes:
    config: sizes and how to compute.
  """

  config: SeparatorConfig

  def setup(self) -> None:
    """Creates band split, blocks and decoder."""
    c = self.config
    block = TFLocoformerBlock
    if c.remat != "none":
      products = jax.checkpoint_policies.save_only_these_names(*SAVED_PRODUCTS)
      policy = products if c.remat == "dots" else None
      block = nn.remat(block, prevent_cse=not c.scan_blocks, policy=policy)
    self.band_split = BandSplit(c)
    self.blocks = nn.scan(
      block,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      in_axes=(0, nn.broadcast),
      length=c.num_blocks,
      check_constancy_invariants=False,
      unroll=1 if c.scan_blocks else c.num_blocks,
    )(c.locoformer_settings())
    self.decoder = MaskDecoder(c)

  def __call__(self, mixture: Array, dropout_keys: Array | None = None) -> Array:
    """Separates mixtures.

    Args:
      mixture: waveforms [B, C, L], longer than n_fft / 2 samples.
      dropout_keys: one random key per example [B], or None for no dropout. The
        masks of an example follow from its key alone.

    Returns:
      Estimates [B, N, C, L], float32.
    """
    estimates, scale = self.separate_normalized(mixture, dropout_keys)
    return estimates * scale[:, None, :, None]

  def separate_normalized(
    self, mixture: Array, dropout_keys: Array | None = None
  ) -> tuple[Array, Array]:
    """Separates mixtures whose spectrograms are scaled to unit level.

    Args:
      mixture: waveforms [B, C, L], longer than n_fft / 2 samples.
      dropout_keys: one random key per example [B], or None for no dropout.

    Returns:
      Estimates [B, N, C, L] of the mixture divided by its level, and the level of
      every channel [B, C], both float32.
    """
    spectrogram, scale = self._analyze(mixture)
    masks = self.masks(spectrogram, dropout_keys)
    return self._synthesize(masks, spectrogram, mixture.shape[-1]), scale

  def separate_remixed(
    self,
    mixture: Array,
    assign: Callable[[Array, Array], Array],
    dropout_keys: Array | None = None,
  ) -> tuple[Array, Array, Array, Array]:
    """Separates mixtures at unit level and sums the outputs by an assignment of theirs.

    The inverse transform is linear: masks are summed in its place, and the gradient
    comes back through M signals instead of N.

    Args:
      mixture: waveforms [B, C, L], longer than n_fft / 2 samples.
      assign: maps estimates [B, N, C, L] of the mixture divided by its level, and the
        level [B, C], to an assignment [B, M, N] of zeros and ones.
      dropout_keys: one random key per example [B], or None for no dropout.

    Returns:
      Sums of the estimates [B, M, C, L], the estimates [B, N, C, L] without a
      gradient, the assignment [B, M, N], and the level [B, C]; all float32.
    """
    length = mixture.shape[-1]
    spectrogram, scale = self._analyze(mixture)
    masks = self.masks(spectrogram, dropout_keys)
    estimates = self._synthesize(lax.stop_gradient(masks), spectrogram, length)
    assignment = assign(estimates, scale)
    chosen = assignment[..., None, None, None] > 0  # [B, M, N, 1, 1, 1]
    summed = [
      jnp.sum(jnp.where(chosen[:, m], masks, 0), axis=1) for m in range(chosen.shape[1])
    ]
    remixed = self._synthesize(jnp.stack(summed, 1), spectrogram, length)
    return remixed, estimates, assignment, scale

  def _analyze(self, mixture: Array) -> tuple[Array, Array]:
    """Spectrograms [B, C, T, F] of mixtures [B, C, L] at unit level, levels [B, C]."""
    c = self.config
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

  def _synthesize(self, masks: Array, spectrogram: Array, length: int) -> Array:
    """Waveforms [B, N, C, L] of masks [B, N, C, T, F] on a spectrogram [B, C, T, F]."""
    c = self.config
    return istft(masks * spectrogram[:, None], c.n_fft, c.hop, length)

  def masks(self, spectrogram: Array, dropout_keys: Array | None = None) -> Array:
    """Computes the masks of a spectrogram.

    Args:
      spectrogram: of mixtures at unit level [B, C, T, F], complex64.
      dropout_keys: one random key per example [B], or None for no dropout.

    Returns:
      Masks [B, N, C, T, F], complex64.
    """
    x = self.band_split(spectrogram)
    x, _ = self.blocks(x, jnp.arange(self.config.num_blocks), dropout_keys)
    return self.decoder(x)


def num_frames(length: int, n_fft: int, hop: int) -> int:
  """Frames that are separated for a mixture of `length` samples.

  The last of the L // hop + 1 frames is dropped. Where only the foot of a window is
  left for the last samples, the inverse would blow up what a mask adds there, so the
  mixture is continued with zeros. The paper's lengths (6 and 12 s at 44.1 kHz) need
  none.
  """
  reach = round((1 / 2 - _WINDOW_FOOT) * n_fft)  # of a frame past its center
  return max(length // hop, -(-(length - reach) // hop) + 1)
