"""One recording: from its file to its results, in blocks.

Everything is a stream: decoding, resampling, separation, resampling back, averages.
Memory does not grow with the length of the recording.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mixit_jax.audio.channels import downmix_matrix
from mixit_jax.audio.recording import Recording
from mixit_jax.audio.resampling import resample_blocks, resampled_length
from mixit_jax.audio.streams import delayed, fitted, in_step
from mixit_jax.data.ahead import ahead
from mixit_jax.errors import UserError
from mixit_jax.inference.model import Model
from mixit_jax.inference.request import Request

# The longest shift: more than a window of any model, less than a rhythm.
_SHIFT_SECONDS = 0.5


class Member(NamedTuple):
  """A model of those whose estimates are averaged.

  Attributes:
    model: the separator.
    weight: its share of the average.
  """

  model: Model
  weight: float


class Layout(NamedTuple):
  """Sizes of the results of a recording.

  Attributes:
    sample_rate: in Hz.
    num_channels: one for a recording of one channel, else the model's.
    length: samples.
  """

  sample_rate: int
  num_channels: int
  length: int


def check_members(members: Sequence[Member]) -> None:
  """Raise a UserError unless all models have the same outputs and channels."""
  first, *others = (member.model for member in members)
  for other in others:
    if other.stems != first.stems:
      raise UserError(
        f"--also: its outputs are {', '.join(other.stems)}, but those of the first"
        f" model are {', '.join(first.stems)}"
      )
    if other.config.num_channels != first.config.num_channels:
      raise UserError("--also: its number of channels is not that of the first model")
    if other.sample_rate != first.sample_rate:
      raise UserError(
        f"--also: its sample rate is {other.sample_rate} Hz, that of the first model"
        f" {first.sample_rate} Hz"
      )


def layout_of(recording: Recording, model: Model, request: Request) -> Layout:
  """Return the sizes of a recording's results.

  Raises:
    UserError: the recording has another number of channels than the model.
  """
  channels = model.config.num_channels
  more = recording.num_channels > channels
  if recording.num_channels not in (1, channels) and not (more and request.downmix):
    hint = "--downmix mixes them down" if more else "convert it first"
    raise UserError(
      f"{recording.name}: has {recording.num_channels} channels, the model {channels};"
      f" {hint}"
    )
  rate = recording.sample_rate if request.rate == "input" else model.sample_rate
  length = resampled_length(recording.length, recording.sample_rate, rate)
  return Layout(rate, min(recording.num_channels, channels), length)


def results_of(
  recording: Recording,
  members: Sequence[Member],
  shares: np.ndarray,
  shifts: int,
  layout: Layout,
) -> Iterator[np.ndarray]:
  """Separate a recording.

  Args:
    recording: the recording.
    members: models whose estimates are averaged.
    shares: of the mixture and of the N outputs in the K results [K, 1 + N].
    shifts: how often each model separates, each time a little later.
    layout: sizes of the results.

  Yields:
    the results [K, C, l] in order, float32.
  """
  mixture = fitted(
    resample_blocks(
      _audio(recording, layout), recording.sample_rate, layout.sample_rate
    ),
    layout.length,
  )
  passes = [
    _estimates(recording, member.model, layout, shift / shifts)
    for member in members
    for shift in range(shifts)
  ]
  weights = np.repeat([member.weight for member in members], shifts)
  weights = (weights / weights.sum()).astype(np.float32)
  for mix, *estimates in in_step([mixture, *passes]):
    mean = estimates[0]
    if len(passes) > 1:
      mean = sum(w * each for w, each in zip(weights, estimates, strict=True))
    parts = np.concatenate([mix[None], mean])
    yield np.tensordot(shares, parts, axes=1)


def _estimates(
  recording: Recording, model: Model, layout: Layout, shift: float
) -> Iterator[np.ndarray]:
  """Yield the estimates [N, C, l] of one model, at the rate of the results."""
  delay = round(shift * _SHIFT_SECONDS * model.sample_rate)
  length = resampled_length(recording.length, recording.sample_rate, model.sample_rate)
  blocks = resample_blocks(
    _audio(recording, layout), recording.sample_rate, model.sample_rate
  )
  blocks = delayed(fitted(ahead(blocks), length), delay)
  copies = model.config.num_channels // layout.num_channels
  wide = (np.repeat(block, copies, axis=0) for block in blocks)
  parts = fitted(model.separate_blocks(wide, delay + length), length, skip=delay)
  # Of a mono recording, both channels are separated and averaged.
  if copies > 1:
    parts = (part.mean(axis=1, keepdims=True) for part in parts)
  num_outputs = len(model.stems)
  flat = (part.reshape(-1, part.shape[-1]) for part in parts)
  there = fitted(
    resample_blocks(flat, model.sample_rate, layout.sample_rate), layout.length
  )
  yield from (
    part.reshape(num_outputs, layout.num_channels, part.shape[-1]) for part in there
  )


def _audio(recording: Recording, layout: Layout) -> Iterator[np.ndarray]:
  """Yield a recording [C, l] at its own rate, mixed down to the layout's channels."""
  blocks = recording.blocks()
  if recording.num_channels == layout.num_channels:
    return blocks
  matrix = downmix_matrix(recording.num_channels, layout.num_channels)
  return (matrix @ block for block in blocks)
