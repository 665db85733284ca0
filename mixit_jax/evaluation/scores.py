"""Scores of separated songs: uSDR and cSDR, in NumPy and float64.

uSDR is the signal-to-distortion ratio of a whole song (Music Demixing Challenge
2021). cSDR is the median over one-second frames of the SDR of BSS Eval v4. Its
distortion filters cancel out of the SDR, which leaves the plain ratio of each
frame, pooled over channels.

Silence has no ratio: a stem whose reference is silent scores NaN, which means and
medians over songs leave out. A perfect estimate scores infinity, and a silent
estimate of a sounding stem 0 dB in uSDR.
"""

from typing import Literal, NamedTuple

import numpy as np

from mixit_jax.errors import UserError

Convention = Literal["mdx", "per_channel"]

# Names of all scores of a song, in the order of the tables.
SCORES = ("usdr_mdx", "usdr_per_channel", "csdr")

# Samples that are converted to float64 at a time: they stay in the cache.
_BLOCK = 65536


class _Energies(NamedTuple):
  """Sums of squares per stem, channel and frame, and which frames are silent."""

  reference: np.ndarray  # [N, C, frames]
  error: np.ndarray  # [N, C, frames]
  silent: np.ndarray  # [N, frames] reference or estimate


def usdr(
  references: np.ndarray, estimates: np.ndarray, convention: Convention = "mdx"
) -> np.ndarray:
  """Compute the song-level SDR of every stem.

  Args:
    references: stems of a song [N, C, L].
    estimates: estimated stems [N, C, L].
    convention: "mdx" pools the energies of all channels before the ratio (Music
      Demixing Challenge 2021). "per_channel" averages the dB values of the
      channels, as the paper's tables do; channels in which the reference is silent
      are left out.

  Returns:
    scores [N] in dB, float64; NaN where the reference is silent.

  Raises:
    ValueError: the shapes do not fit, or the convention is unknown.
  """
  if convention not in ("mdx", "per_channel"):
    raise ValueError(f"convention must be 'mdx' or 'per_channel', not {convention!r}")
  _check_shapes(references, estimates)
  blocks = range(0, references.shape[-1], _BLOCK)
  return _usdr(_frame_energies(references, estimates, blocks), convention)


def framewise_sdr(
  references: np.ndarray, estimates: np.ndarray, sample_rate: int
) -> np.ndarray:
  """Compute the SDR of every one-second frame, as BSS Eval v4 defines it for images.

  A frame in which any stem's reference or estimate is silent is NaN for all stems.
  As in BSS Eval, silent means that the channels sum to zero at every sample. The last
  partial second is dropped; a recording shorter than a second is one frame.

  Args:
    references: stems of a song [N, C, L].
    estimates: estimated stems [N, C, L].
    sample_rate: samples per second.

  Returns:
    scores [N, frames] in dB, float64.

  Raises:
    ValueError: the shapes do not fit, or the sample rate is not positive.
  """
  _check_shapes(references, estimates)
  if sample_rate <= 0:
    raise ValueError(f"sample_rate must be positive, not {sample_rate}")
  length = references.shape[-1]
  window = min(int(sample_rate), length)
  frames = range(0, length - window + 1, window)
  return _framewise_sdr(_frame_energies(references, estimates, frames))


def csdr(references: np.ndarray, estimates: np.ndarray, sample_rate: int) -> np.ndarray:
  """Compute the chunk-wise SDR of every stem: the median over its one-second frames.

  Args:
    references: stems of a song [N, C, L].
    estimates: estimated stems [N, C, L].
    sample_rate: samples per second.

  Returns:
    scores [N] in dB, float64; NaN where every frame is NaN (see `framewise_sdr`).

  Raises:
    ValueError: the shapes do not fit, or the sample rate is not positive.
  """
  return _median_over_frames(framewise_sdr(references, estimates, sample_rate))


class StreamedScores:
  """All scores of a song that comes in blocks; memory holds a second of it."""

  def __init__(self, sample_rate: int):
    self._frame = sample_rate
    self._held: list[tuple[np.ndarray, np.ndarray]] = []  # less than a frame in all
    self._held_length = 0
    self._frames: list[_Energies] = []

  def add(self, references: np.ndarray, estimates: np.ndarray) -> None:
    """Take the next block.

    Args:
      references: stems [N, C, l].
      estimates: estimated stems [N, C, l].

    Raises:
      ValueError: the shapes do not fit.
      UserError: samples are not finite.
    """
    _check_shapes(references, estimates)
    start = 0
    while start < references.shape[-1]:
      stop = start + self._frame - self._held_length
      part = references[..., start:stop], estimates[..., start:stop]
      self._held.append(part)
      self._held_length += part[0].shape[-1]
      start = stop
      if self._held_length == self._frame:
        self._frames.append(self._release())

  def scores(self) -> dict[str, np.ndarray]:
    """Return the scores [N] of what was added, each equal to its function's.

    Call it once, at the end.

    Raises:
      ValueError: there are no samples.
      UserError: samples are not finite.
    """
    whole = len(self._frames)
    if self._held_length:
      self._frames.append(self._release())
    if not self._frames:
      raise ValueError("there are no samples to score")
    energies = _Energies(
      *(np.concatenate(parts, axis=-1) for parts in zip(*self._frames, strict=True))
    )
    frames = _framewise_sdr(energies)
    return {
      "usdr_mdx": _usdr(energies, "mdx"),
      "usdr_per_channel": _usdr(energies, "per_channel"),
      # The last partial second is dropped, unless it is all there is.
      "csdr": _median_over_frames(frames[:, : max(whole, 1)]),
    }

  def _release(self) -> _Energies:
    references, estimates = (
      np.concatenate(parts, axis=-1) for parts in zip(*self._held, strict=True)
    )
    self._held, self._held_length = [], 0
    length = references.shape[-1]
    energies = _frame_energies(references, estimates, range(0, length, length))
    if not (np.isfinite(energies.reference) & np.isfinite(energies.error)).all():
      raise UserError("references or estimates hold samples that are not finite")
    return energies


def _usdr(energies: _Energies, convention: Convention) -> np.ndarray:
  reference, error = energies.reference.sum(axis=2), energies.error.sum(axis=2)
  if convention == "mdx":
    return _ratio_db(reference.sum(axis=1), error.sum(axis=1))
  ratios = _ratio_db(reference, error)  # [N, C]
  sounding = ~np.isnan(ratios)
  total = np.where(sounding, ratios, 0.0).sum(axis=1)
  count = sounding.sum(axis=1)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _framewise_sdr(energies: _Energies) -> np.ndarray:
  ratios = _ratio_db(energies.reference.sum(axis=1), energies.error.sum(axis=1))
  return np.where(energies.silent.any(axis=0), np.nan, ratios)


def _median_over_frames(ratios: np.ndarray) -> np.ndarray:
  """Return the median over the frames in which every stem has a ratio [N]."""
  valid = ~np.isnan(ratios).all(axis=0)
  if not valid.any():
    return np.full(len(ratios), np.nan)
  return np.median(ratios[:, valid], axis=1)


def _frame_energies(
  references: np.ndarray, estimates: np.ndarray, frames: range
) -> _Energies:
  """Sum the squares of references and errors in frames, given by first samples."""
  num_sources, num_channels, _ = references.shape
  shape = (num_sources, num_channels, len(frames))
  reference, error = np.empty(shape), np.empty(shape)
  silent = np.empty((num_sources, len(frames)), dtype=bool)
  for n in range(num_sources):
    for i, start in enumerate(frames):
      frame = slice(start, start + frames.step)
      target = references[n, :, frame].astype(np.float64)
      estimate = estimates[n, :, frame].astype(np.float64)
      silent[n, i] = _is_silent(target) or _is_silent(estimate)
      np.subtract(target, estimate, out=estimate)
      reference[n, :, i] = np.einsum("cl,cl->c", target, target)
      error[n, :, i] = np.einsum("cl,cl->c", estimate, estimate)
  return _Energies(reference, error, silent)


def _is_silent(signal: np.ndarray) -> bool:
  """Tell whether the channels of a signal [C, L] sum to zero at every sample."""
  return not np.any(np.sum(signal, axis=0))


def _ratio_db(reference: np.ndarray, error: np.ndarray) -> np.ndarray:
  """Return an energy ratio in dB: NaN for a silent reference, infinity for no error."""
  with np.errstate(divide="ignore", invalid="ignore"):
    ratios = 10.0 * np.log10(reference / error)
  return np.where(reference > 0.0, ratios, np.nan)


def _check_shapes(references: np.ndarray, estimates: np.ndarray) -> None:
  """Raise a ValueError unless both are [N, C, L], equal in shape and not empty."""
  if references.ndim != 3:
    raise ValueError(f"references must be [N, C, L], not {references.shape}")
  if references.shape != estimates.shape:
    raise ValueError(
      f"references {references.shape} and estimates {estimates.shape} differ in shape"
    )
  if references.size == 0:
    raise ValueError(f"references hold no samples: {references.shape}")
