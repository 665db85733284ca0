"""Short-time Fourier transform, its inverse, and the level of a spectrogram.

The paper (section 4.2) uses windows of 2048 samples every 512. Like its implementation,
this module centers the frames, pads by reflection, takes the periodic Hann window,
leaves the transform unscaled and keeps the first `L // hop` frames.

Frames are cut and overlapped as rows of `hop` samples, by slices and shifted sums
only. This avoids gathers and scatters, is fast on every platform, and keeps all shapes
static. Where a batch is divided over devices, call it within `jax.shard_map`: up to jax
0.11, XLA for CPU and GPU does not partition its transform and would gather the batch.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import Array

# Where the overlapped squared windows are weaker than this, nothing can be restored.
_SMALLEST_ENVELOPE = 1e-11
# Power below which a bin does not make a level smaller.
_SMALLEST_POWER = 1e-15


def stft(signal: Array, n_fft: int, hop: int, drop_last: bool = True) -> Array:
  """Transform a signal to its spectrogram.

  Args:
    signal: real signal of shape [..., L].
    n_fft: samples of a window. F = n_fft // 2 + 1.
    hop: samples from one window to the next.
    drop_last: whether to drop the last frame, which the separator does not use but
      which counts in the level of a mixture.

  Returns:
    unscaled one-sided spectrogram of shape [..., T, F], complex64; T = L // hop, one
    more where the last frame is kept.

  Raises:
    ValueError: L is shorter than `hop`, or too short to be reflected: at least
      `n_fft // 2 + 1` samples are needed.
  """
  _check_sizes(n_fft, hop)
  length = signal.shape[-1]
  half = n_fft // 2
  if length < max(half + 1, hop):
    raise ValueError(
      f"a signal of {length} samples is too short for n_fft={n_fft}, hop={hop}:"
      f" at least {max(half + 1, hop)} samples are needed"
    )
  num_frames, rows_per_frame = length // hop + (not drop_last), -(-n_fft // hop)
  num_rows = num_frames + rows_per_frame - 1

  signal = _pad_end(signal.astype(jnp.float32), half, half, mode="reflect")
  surplus = num_rows * hop - signal.shape[-1]
  signal = (
    _pad_end(signal, 0, surplus) if surplus > 0 else signal[..., : num_rows * hop]
  )
  rows = signal.reshape(*signal.shape[:-1], num_rows, hop)
  frames = jnp.concatenate(
    [rows[..., i : i + num_frames, :] for i in range(rows_per_frame)], axis=-1
  )[..., :n_fft]
  return jnp.fft.rfft(frames * _as_rank(_hann(n_fft), frames.ndim), n_fft)


def istft(spectrogram: Array, n_fft: int, hop: int, length: int) -> Array:
  """Transform a spectrogram back, by overlap-add of windowed frames.

  The sum of the windowed frames is divided by the sum of the squared windows. Where
  that sum vanishes, or no frame reaches, the signal is zero.

  `stft` dropped the last frame, so the last `length % hop` samples lie in the slope of
  one window only. They are exact for a spectrogram of a signal, but what a mask adds
  there is amplified. Lengths that are multiples of `hop` avoid this.

  Args:
    spectrogram: unscaled one-sided spectrogram of shape [..., T, F].
    n_fft: samples of a window.
    hop: samples from one window to the next.
    length: samples L of the signal.

  Returns:
    signal of shape [..., L], float32.

  Raises:
    ValueError: F is not `n_fft // 2 + 1`.
  """
  _check_sizes(n_fft, hop)
  num_frames, num_bins = spectrogram.shape[-2:]
  if num_bins != n_fft // 2 + 1:
    raise ValueError(
      f"a spectrogram with {num_bins} bins does not fit n_fft={n_fft},"
      f" which has {n_fft // 2 + 1}"
    )
  window = _hann(n_fft)
  frames = jnp.fft.irfft(spectrogram, n_fft)
  rows = _overlap_add(frames * _as_rank(window, frames.ndim), hop)
  rows /= _as_rank(_envelope(window, num_frames, hop), rows.ndim)

  signal = rows.reshape(*rows.shape[:-2], -1)[..., n_fft // 2 :][..., :length]
  return _pad_end(signal, 0, length - signal.shape[-1])


def level(spectrogram: Array) -> Array:
  """Measure the root mean square of a spectrogram, which is never zero.

  The separator divides every channel of a mixture by the level of all its frames,
  the last one included.

  Args:
    spectrogram: spectrogram of shape [..., T, F].

  Returns:
    level of shape [...], float32: the root of the mean over T and F of the power,
    where a power below 1e-15 counts as 1e-15.
  """
  power = jnp.square(spectrogram.real) + jnp.square(spectrogram.imag)
  return jnp.sqrt(jnp.mean(jnp.maximum(power, _SMALLEST_POWER), axis=(-2, -1)))


def _check_sizes(n_fft: int, hop: int) -> None:
  if n_fft < 2 or n_fft % 2 or not 0 < hop <= n_fft:
    raise ValueError(
      f"n_fft must be even and hop in 1..n_fft, found n_fft={n_fft}, hop={hop}"
    )


def _hann(n_fft: int) -> np.ndarray:
  """Return the periodic Hann window, rounded once from float64."""
  return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def _as_rank(array: Array | np.ndarray, rank: int) -> Array:
  """Add leading axes of size 1."""
  return jnp.reshape(array, (1,) * (rank - array.ndim) + array.shape)


def _pad_end(array: Array, before: int, after: int, mode: str = "constant") -> Array:
  """Pad the last axis."""
  return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(before, after)], mode=mode)


def _overlap_add(frames: Array, hop: int) -> Array:
  """Sum frames [..., T, n_fft] that start `hop` apart, as rows [..., R, hop]."""
  rows_per_frame = -(-frames.shape[-1] // hop)
  frames = _pad_end(frames, 0, rows_per_frame * hop - frames.shape[-1])
  no_padding = [(0, 0)] * (frames.ndim - 2)
  shifted = [
    jnp.pad(
      frames[..., i * hop : (i + 1) * hop],
      [*no_padding, (i, rows_per_frame - 1 - i), (0, 0)],
    )
    for i in range(rows_per_frame)
  ]
  return functools.reduce(jnp.add, shifted)


def _envelope(window: np.ndarray, num_frames: int, hop: int) -> Array:
  """Sum the squared windows, as rows [R, hop]; infinite where the sum vanishes.

  It is computed inside the graph: for a long signal a constant would be large.
  """
  rows_per_frame = -(-len(window) // hop)
  squared = np.pad(np.square(window), (0, rows_per_frame * hop - len(window)))
  squared = squared.reshape(rows_per_frame, 1, hop)
  row = jnp.arange(num_frames + rows_per_frame - 1)[:, None]
  parts = [
    jnp.where((row >= i) & (row < i + num_frames), squared[i], 0.0)
    for i in range(rows_per_frame)
  ]
  envelope = functools.reduce(jnp.add, parts)
  return jnp.where(envelope > _SMALLEST_ENVELOPE, envelope, jnp.inf)
