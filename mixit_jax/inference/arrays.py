"""Arrays that users pass as recordings."""

import operator
from typing import Any

import numpy as np

from mixit_jax.audio.decoding import LARGEST
from mixit_jax.errors import UserError

# Value of full scale and of silence, by the type of whole numbers in audio files.
_INTEGERS = {"uint8": (2**7, 2**7), "int16": (2**15, 0), "int32": (2**31, 0)}
_RATES = range(1_000, 1_000_000)  # Hz


def as_audio(recording: Any, num_channels: int) -> np.ndarray:
  """Turn what a user passes into audio.

  Args:
    recording: array of NumPy or JAX or nested lists, [C, L] or [L]. Whole numbers of
      the types uint8, int16 and int32 are divided by their full scale.
    num_channels: channels of the model; a recording has as many, or one.

  Returns:
    audio [C, L], float32, finite, L > 0, with the recording's own channels.

  Raises:
    UserError: the type, the shape or the samples are not those of audio.
  """
  try:
    array = np.asarray(recording)
  except (TypeError, ValueError) as error:  # e.g. lists of different lengths
    raise UserError(f"recording: cannot be read as an array ({error})") from error
  if array.ndim not in (1, 2) or not array.size:
    raise UserError(
      f"recording: expected audio [C, L] or [L], found the shape {array.shape}"
    )
  audio = np.atleast_2d(array)
  if len(audio) not in (1, num_channels):
    hint = "; transpose it" if audio.shape[1] in (1, num_channels) else ""
    raise UserError(
      f"recording: expected {num_channels} channels or one, as [C, L], found the"
      f" shape {array.shape}{hint}"
    )
  if audio.dtype.name in _INTEGERS:
    scale, silence = _INTEGERS[audio.dtype.name]
    return ((audio.astype(np.float64) - silence) / scale).astype(np.float32)
  # Of JAX, bfloat16 is a type of its own.
  if not (np.issubdtype(audio.dtype, np.floating) or audio.dtype.name == "bfloat16"):
    raise UserError(
      f"recording: {audio.dtype} samples have no full scale; give floats in [-1, 1], or"
      f" {', '.join(_INTEGERS)}"
    )
  with np.errstate(over="ignore"):
    audio = audio.astype(np.float32)
  peak = np.abs(audio).max()
  if not peak <= LARGEST:  # NaN, too
    raise UserError(
      f"recording: holds samples of {peak:g}; expected finite values, full scale is 1"
    )
  return audio


def as_rate(sample_rate: Any) -> int:
  """Return a sample rate as a whole number.

  Raises:
    UserError: it is not one, or not plausible for audio.
  """
  try:
    whole = float(sample_rate).is_integer() and not isinstance(sample_rate, bool | str)
    rate = operator.index(int(sample_rate)) if whole else 0
  except (TypeError, ValueError, OverflowError):
    rate = 0
  if rate not in _RATES:
    raise UserError(
      f"sample_rate: expected a whole number of Hz from {_RATES.start} to"
      f" {_RATES.stop - 1}, found {sample_rate!r}"
    )
  return rate
