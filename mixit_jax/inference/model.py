"""A trained separator at work: load it once, separate anything."""

import dataclasses
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mixit_jax.audio.files import read_audio, resample
from mixit_jax.devices.mesh import local_mesh
from mixit_jax.devices.platforms import platform_of
from mixit_jax.devices.start import enable_compilation_cache
from mixit_jax.errors import UserError, one_line
from mixit_jax.inference.batching import automatic_batch
from mixit_jax.separator.chunked import separate_long
from mixit_jax.separator.compiled import SeparateChunks, chunk_separator
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.outputs import output_names
from mixit_jax.weights.folder import Weights
from mixit_jax.weights.runs import read_weights

# Chunks of long recordings (paper 4.3).
CHUNK_SECONDS = 12.0
HOP_SECONDS = 6.0

PRECISIONS = ("float32", "bfloat16")


class Model:
  """A separator with its weights.

  Attributes:
    weights: configuration, parameters, names of the outputs and card.
    chunk_seconds: length of the chunks of long recordings.
    hop_seconds: distance of the chunks.
    batch: chunks that each device separates together; None chooses by its memory.
    precision: type of the computation, see `load`.
  """

  def __init__(
    self,
    weights: Weights,
    chunk_seconds: float = CHUNK_SECONDS,
    hop_seconds: float = HOP_SECONDS,
    batch: int | None = None,
    precision: str | None = None,
  ):
    self.weights = _with_precision(weights, precision)
    self.precision = precision
    self.chunk_seconds = chunk_seconds
    self.hop_seconds = hop_seconds
    self.batch = batch

  @property
  def config(self) -> SeparatorConfig:
    """Configuration of the separator."""
    return self.weights.config

  @property
  def card(self) -> dict[str, Any]:
    """Where the weights come from."""
    return dict(self.weights.card)

  @property
  def sample_rate(self) -> int:
    """Rate of what `separate` returns, in Hz."""
    return self.config.sample_rate

  @property
  def stems(self) -> tuple[str, ...]:
    """Names of the outputs; numbered for a pre-trained model."""
    return self.weights.stems or output_names(self.config.num_sources)

  def chunk_batch(self, samples: int, chunks: int | None = None) -> int:
    """Return how many chunks all local devices separate together.

    Args:
      samples: length of the chunks.
      chunks: how many there are; an automatic batch is reduced to fit few chunks.
    """
    devices = self._mesh.devices.size
    if self.batch is not None:
      return self.batch * devices
    settled = self.config.settled(platform_of(self._mesh))
    batch = automatic_batch(settled, samples, self._mesh)
    # By halves: few shapes, few compilations.
    while chunks is not None and batch > 1 and batch // 2 * devices >= chunks:
      batch //= 2
    return batch * devices

  @cached_property
  def separate_chunks(self) -> SeparateChunks:
    """Separation of chunks [B, C, L] into [B, N, C, L] on all local devices."""
    return chunk_separator(
      self.config,
      self.weights.params,
      self._mesh,
      full_products=self.precision == "float32",
    )

  @cached_property
  def _mesh(self) -> Mesh:
    """Devices of this host."""
    return local_mesh()

  def separate(
    self, recording: str | Path | np.ndarray, sample_rate: int | None = None
  ) -> dict[str, np.ndarray]:
    """Separate a recording of any length.

    Args:
      recording: audio file, or array [C, L] or [L].
      sample_rate: rate of an array in Hz; None takes the model's.

    Returns:
      dict from the name of each output to its audio, float32 [C, L] at the model's
      rate. Levels are those of the recording.

    Raises:
      UserError: the file cannot be read, or the array has a wrong shape.
    """
    if isinstance(recording, np.ndarray):
      mixture = self._prepare(recording, sample_rate)
    else:
      mixture = read_audio(Path(recording), self.sample_rate, self.config.num_channels)
    return dict(zip(self.stems, self.separate_mixture(mixture), strict=True))

  def separate_mixture(self, mixture: np.ndarray) -> np.ndarray:
    """Separate [C, L] at the model's rate into [N, C, L]."""
    chunk = round(self.chunk_seconds * self.sample_rate)
    length = mixture.shape[-1]
    # A short recording is filled up to whole windows: few lengths, few compilations.
    missing = -length % self.config.n_fft if length < chunk else 0
    mixture = np.pad(mixture, ((0, 0), (0, missing)))
    hop = round(self.hop_seconds * self.sample_rate)
    samples = min(chunk, mixture.shape[-1])
    chunks = 1 + math.ceil((mixture.shape[-1] - samples) / max(hop, 1))
    batch = self.chunk_batch(samples, chunks)
    try:
      estimates = separate_long(self.separate_chunks, mixture, chunk, hop, batch)
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      raise UserError(
        f"the device does not have enough memory for {batch} chunks of"
        f" {samples / self.sample_rate:g} s ({one_line(error)[:100]}); choose a smaller"
        " batch or shorter chunks"
      ) from error
    return estimates[..., :length]

  def _prepare(self, audio: np.ndarray, sample_rate: int | None) -> np.ndarray:
    channels = self.config.num_channels
    audio = np.asarray(audio, np.float32)
    if audio.ndim == 1:
      audio = np.repeat(audio[None], channels, axis=0)
    if audio.ndim != 2 or audio.shape[0] not in (1, channels) or not audio.size:
      raise UserError(
        f"the recording has shape {audio.shape}; expected [{channels}, samples]"
      )
    if audio.shape[0] != channels:
      audio = np.repeat(audio, channels, axis=0)
    if not np.isfinite(audio).all():
      raise UserError("the recording has samples that are not finite")
    if sample_rate is not None and sample_rate != self.sample_rate:
      audio = resample(audio, sample_rate, self.sample_rate)
    return audio


def load(
  folder: str | Path, weights: str = "mean", precision: str | None = None
) -> Model:
  """Load a run or a folder of exported or imported weights.

  Args:
    folder: working directory of a run, or a folder of weights.
    weights: for a run, "mean" of the best checkpoints, "best", "latest", "ema" or a
      step.
    precision: "bfloat16", or "float32" with matrix products of full precision also on
      GPUs and TPUs; None takes what the model's configuration says.

  Raises:
    UserError: the folder is neither, its files are missing or damaged, or the
      precision is unknown.
  """
  enable_compilation_cache()
  return Model(read_weights(Path(folder), weights), precision=precision)


def _with_precision(weights: Weights, precision: str | None) -> Weights:
  """Return the weights with another type of computation; None changes nothing."""
  if precision is None:
    return weights
  if precision not in PRECISIONS:
    raise UserError(
      f"precision: {precision!r} is not one of {', '.join(PRECISIONS)}; without it the"
      " model's configuration decides"
    )
  config = weights.config
  # cuDNN's attention does not support float32.
  attention = "auto" if precision == "float32" else config.attention
  changed: dict[str, Any] = {"dtype": precision, "attention": attention}
  config = dataclasses.replace(config, **changed)
  return dataclasses.replace(weights, config=config)
