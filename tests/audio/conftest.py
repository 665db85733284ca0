"""Sounds and damaged files for the tests of audio files."""

from collections.abc import Callable

import numpy as np
import pytest

from mixit_jax.audio.files import write_audio


@pytest.fixture
def tone() -> Callable[..., np.ndarray]:
  """Makes a tone [C, L] whose channels differ in level."""

  def make(
    frequency: float, rate: int, seconds: float = 2.0, num_channels: int = 2
  ) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    levels = 0.5 / np.arange(1, num_channels + 1)[:, None]
    return (levels * np.sin(2 * np.pi * frequency * time)).astype(np.float32)

  return make


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
  """Makes noise [C, L] below half of full scale."""

  def make(length: int = 70_001, num_channels: int = 2) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.uniform(-0.5, 0.5, (num_channels, length)).astype(np.float32)

  return make


@pytest.fixture
def frequency_of() -> Callable[[np.ndarray, int], int]:
  """Finds the strongest frequency of a signal [L], in Hz."""

  def find(signal: np.ndarray, rate: int) -> int:
    return round(np.argmax(np.abs(np.fft.rfft(signal))) * rate / len(signal))

  return find


@pytest.fixture
def encode(tmp_path) -> Callable[..., bytes]:
  """Encodes audio [C, L] in a format and gives the content of the file."""

  def make(audio: np.ndarray, rate: int, suffix: str, subtype: str | None = None):
    path = tmp_path / f"encoded{suffix}"
    write_audio(path, audio, rate, subtype)
    return path.read_bytes()

  return make
