"""Building blocks of sound: tones, noise, envelopes, stereo and echo.

A sound is an array [L], or [2, L] in stereo. Frequencies and sample rates are in Hz,
times in seconds.
"""

from collections.abc import Callable

import numpy as np
import scipy.fft

TABLE_SIZE = 4096  # a power of 2


def frequency(pitch: float) -> float:
  """Return the frequency of a MIDI pitch."""
  return 440.0 * 2.0 ** ((pitch - 69) / 12)


def times(seconds: float, rate: int) -> np.ndarray:
  """Return the times [L] of the samples of a sound."""
  return np.arange(round(seconds * rate), dtype=np.float32) / rate


def tone(levels: np.ndarray, phase: np.ndarray) -> np.ndarray:
  """Return a tone of RMS 1: levels of harmonics [K], phase in periods [L]."""
  k = np.arange(len(levels))
  spread = np.exp(-1j * np.pi * k**2 / len(k))  # of the energy, over the whole period
  spectrum = np.zeros(TABLE_SIZE // 2 + 1, np.complex64)
  spectrum[1 : len(k) + 1] = levels * spread / np.sqrt(2 * np.sum(levels**2))
  period = TABLE_SIZE * scipy.fft.irfft(spectrum)
  return period[(phase * TABLE_SIZE).astype(int) & (TABLE_SIZE - 1)]


def noise(
  rng: np.random.Generator, seconds: float, rate: int, low: float, high: float
) -> np.ndarray:
  """Return noise of RMS 1 between two frequencies, lowered where they do not fit."""
  low, high = min(low, 0.23 * rate), min(high, 0.47 * rate)
  length = round(seconds * rate)
  size = scipy.fft.next_fast_len(length, real=True)
  hertz = np.maximum(scipy.fft.rfftfreq(size, 1 / rate), 1).astype(np.float32)
  white = rng.standard_normal(2 * len(hertz), np.float32).view(np.complex64)
  edges = np.hypot(1, (low / hertz) ** 3) * np.hypot(1, (hertz / high) ** 4)
  sound = scipy.fft.irfft(white / edges, size)[:length]
  return sound / np.sqrt(np.mean(sound**2))


def envelope(time: np.ndarray, end: float, attack: float, release: float) -> np.ndarray:
  """Return a loudness [L] that rises to 1 and falls to 0 after `end`."""
  return np.clip(np.minimum(time / attack, (end + release - time) / release), 0, 1)


def pan(sound: np.ndarray, place: float) -> np.ndarray:
  """Move a sound to a place from -1 (left) to 1 (right), at equal power: [2, L]."""
  angle = (place + 1) * np.pi / 4
  gains = np.array([[np.cos(angle)], [np.sin(angle)]]) * np.sqrt(2)
  return gains.astype(sound.dtype) * sound


def room(
  rng: np.random.Generator, length: int, rate: int, decay: float
) -> Callable[[np.ndarray], np.ndarray]:
  """Return a room: from sounds [2, length] to echoes that fall 60 dB in `decay`."""
  time = times(decay, rate)
  fall = np.where(time > 0.012, np.exp(-6.9 * time / decay), 0).astype(np.float32)
  clicks = np.stack([noise(rng, decay, rate, 100, 4000) * fall for _ in range(2)])
  size = scipy.fft.next_fast_len(length + len(time), real=True)
  response = scipy.fft.rfft(clicks, size) / np.linalg.norm(clicks[0])

  def echo(sound: np.ndarray) -> np.ndarray:
    spectrum = scipy.fft.rfft(sound.mean(axis=0), size)
    return scipy.fft.irfft(spectrum * response, size)[:, :length]

  return echo
