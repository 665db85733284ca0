"""A trained separator at work: load it once, separate anything."""

import dataclasses
import math
from collections.abc import Generator, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mixit_jax.audio.decoding import decode
from mixit_jax.audio.resampling import resample
from mixit_jax.audio.streams import fitted
from mixit_jax.devices.memory import machine_memory
from mixit_jax.devices.mesh import local_mesh
from mixit_jax.devices.platforms import platform_of
from mixit_jax.devices.start import enable_compilation_cache
from mixit_jax.errors import UserError, one_line
from mixit_jax.inference.arrays import as_audio, as_rate
from mixit_jax.inference.batching import automatic_batch
from mixit_jax.separator.chunked import Window, joined, separate_stream
from mixit_jax.separator.compiled import SeparateChunks, chunk_separator
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.outputs import output_names
from mixit_jax.weights.folder import Weights
from mixit_jax.weights.runs import read_weights

# Chunks of long recordings (paper 4.3).
CHUNK_SECONDS = 12.0
HOP_SECONDS = 6.0

# Bounds of what can be asked: attention grows with the square of a chunk.
LONGEST_CHUNK = 600.0
MOST_CHUNKS = 4096

PRECISIONS = ("float32", "bfloat16")


class Model:
  """A separator with its weights.

  Attributes:
    weights: configuration, parameters, names of the outputs and card.
    chunk_seconds: length of the chunks of long recordings.
    hop_seconds: distance of the chunks.
    batch: chunks that each device separates together; None chooses by its memory.
    precision: type of the computation, see `load`.
    window: weights where chunks overlap: "mean", "triangle" or "hann".

  Raises:
    UserError: a number is out of its range.
  """

  def __init__(
    self,
    weights: Weights,
    chunk_seconds: float = CHUNK_SECONDS,
    hop_seconds: float = HOP_SECONDS,
    batch: int | None = None,
    precision: str | None = None,
    window: Window = "mean",
  ):
    _check_chunks(weights.config, chunk_seconds, hop_seconds, batch)
    self.weights = _with_precision(weights, precision)
    self.precision = precision
    self.chunk_seconds = chunk_seconds
    self.hop_seconds = hop_seconds
    self.batch = batch
    self.window: Window = window

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
    self, recording: Any, sample_rate: int | None = None
  ) -> dict[str, np.ndarray]:
    """Separate a recording of any length.

    Args:
      recording: audio file, or array of NumPy or JAX or list [C, L] or [L]: floats in
        [-1, 1], or uint8, int16 or int32, which are divided by their full scale.
      sample_rate: rate of an array in Hz; None takes the model's. A file has its own.

    Returns:
      dict from the name of each output to its audio, float32 [C, L] at the model's
      rate; [1, L] for a recording of one channel. Levels are those of the recording.

    Raises:
      UserError: the file cannot be read, or an argument has a wrong type, shape or
        value; the message names it.
    """
    channels = self.config.num_channels
    if isinstance(recording, str | Path):
      if sample_rate is not None:
        raise UserError(
          f"sample_rate={sample_rate!r}: is for arrays, a file has its own rate"
        )
      audio, rate = decode(Path(recording).expanduser())
    else:
      rate = self.sample_rate if sample_rate is None else as_rate(sample_rate)
      audio = as_audio(recording, channels)
    if len(audio) not in (1, channels):
      raise UserError(
        f"recording: {recording} has {len(audio)} channels, expected {channels} or one"
      )
    audio = resample(audio, rate, self.sample_rate)
    copies = channels // len(audio)
    estimates = self.separate_mixture(np.repeat(audio, copies, axis=0))
    if copies > 1:
      estimates = estimates.mean(axis=1, keepdims=True)
    return dict(zip(self.stems, estimates, strict=True))

  def separate_mixture(self, mixture: np.ndarray) -> np.ndarray:
    """Separate [C, L] at the model's rate into [N, C, L]."""
    return joined(self.separate_blocks([mixture], mixture.shape[-1]), mixture.shape[-1])

  def separate_blocks(
    self, blocks: Iterable[np.ndarray], length: int
  ) -> Generator[np.ndarray, None, None]:
    """Separate a recording that comes in blocks, in bounded memory.

    Args:
      blocks: recording [C, l] at the model's rate, in order.
      length: its samples L in all.

    Yields:
      estimates [N, C, l] in order, float32.

    Raises:
      UserError: memory does not suffice.
    """
    chunk = round(self.chunk_seconds * self.sample_rate)
    hop = round(self.hop_seconds * self.sample_rate)
    # A short recording is filled up to whole windows: few lengths, few compilations.
    padded = length + (-length % self.config.n_fft if length < chunk else 0)
    samples = min(chunk, padded)
    chunks = 1 + math.ceil((padded - samples) / max(hop, 1))
    batch = self.chunk_batch(samples, chunks)
    try:
      self._check_memory(batch, samples)
      estimates = separate_stream(
        self.separate_chunks,
        fitted(blocks, padded),
        padded,
        chunk,
        hop,
        batch,
        self.window,
      )
      yield from fitted(estimates, length)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
      if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        raise UserError(
          f"the device does not have enough memory for {batch} chunks of"
          f" {samples / self.sample_rate:g} s ({one_line(error)[:100]}); choose a"
          " smaller batch or shorter chunks"
        ) from error
      raise

  def _check_memory(self, batch: int, samples: int) -> None:
    """Raise a MemoryError where a CPU cannot even hold a group and its estimates.

    Most systems promise memory that they do not have, and end the process later.
    """
    if platform_of(self._mesh) != "cpu":
      return
    channels, sources = self.config.num_channels, self.config.num_sources
    needed = 4 * batch * (1 + 2 * sources) * channels * samples
    if needed > machine_memory():
      raise MemoryError(
        f"at least {needed / 2**30:.0f} GiB of the {machine_memory() / 2**30:.0f} GiB"
        " of this machine"
      )


def load(
  folder: str | Path, weights: str | int = "mean", precision: str | None = None
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
  folder = Path(folder).expanduser()
  return Model(read_weights(folder, str(weights)), precision=precision)


def _check_chunks(
  config: SeparatorConfig, chunk: float, hop: float, batch: int | None
) -> None:
  """Raise a UserError unless the chunks in seconds can be separated."""
  # Reflection at the ends needs more than half a window.
  least = (config.n_fft // 2 + 1) / config.sample_rate
  if not least <= chunk <= LONGEST_CHUNK:
    raise UserError(
      f"--chunk={chunk:g}: expected {math.ceil(1000 * least) / 1000:g} to"
      f" {LONGEST_CHUNK:g} seconds"
    )
  if not 1 / config.sample_rate <= hop <= chunk:
    raise UserError(f"--hop={hop:g}: expected at most the chunk of {chunk:g} seconds")
  if batch is not None and not 1 <= batch <= MOST_CHUNKS:
    raise UserError(f"--batch={batch}: expected 1 to {MOST_CHUNKS} chunks")


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
