"""Building blocks of sound: wavetables, envelopes, shaped noise, reverberation.

Letters in shapes: C channels (2), L samples, K harmonics.
"""

import numpy as np
import scipy.fft

TABLE_SIZE = 2048


def frequency(pitch: float) -> float:
  """Frequency of a MIDI pitch in Hz."""
  return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)


def audible_harmonics(fundamental: float, sample_rate: int) -> np.ndarray:
  """Numbers [K] of the harmonics that stay below the Nyquist frequency."""
  highest = min(int(0.47 * sample_rate / fundamental), TABLE_SIZE // 2 - 1)
  return np.arange(1, max(highest, 1) + 1)


def wavetable(harmonics: np.ndarray) -> np.ndarray:
  """One period of a tone from the complex amplitudes [K] of its harmonics."""
  spectrum = np.zeros(TABLE_SIZE // 2 + 1, np.complex64)
  spectrum[1 : len(harmonics) + 1] = harmonics
  return scipy.fft.irfft(spectrum).astype(np.float32) * np.float32(TABLE_SIZE / 2)


def lookup(
  table_a: np.ndarray, table_b: np.ndarray, phase: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Reads two wavetables at the phase [L] (in periods), interpolating linearly."""
  position = phase * TABLE_SIZE
  index = position.astype(np.int64)
  fraction = (position - index).astype(np.float32)
  index &= TABLE_SIZE - 1
  # Both tables as one complex table: half as many random reads.
  table = table_a + np.complex64(1j) * table_b
  slope = np.append(table[1:], table[0]) - table
  sound = slope[index]
  sound *= fraction
  sound += table[index]
  return sound.real, sound.imag


def seconds_axis(length: int, sample_rate: int) -> np.ndarray:
  """Times [L] of the samples in seconds, float32."""
  return np.arange(length, dtype=np.float32) / np.float32(sample_rate)


def envelope(
  time: np.ndarray,
  attack: float,
  decay: float,
  sustain: float,
  end: float,
  release: float,
) -> np.ndarray:
  """Loudness [L] of a tone: linear attack, exponential decay, linear release.

  Args:
    time: seconds since the tone began [L].
    attack: seconds until it is at its loudest.
    decay: time constant of the fall to `sustain`, in seconds.
    sustain: level that it falls to, in [0, 1].
    end: second at which the release begins.
    release: seconds that the release lasts.
  """
  shape = sustain + (1 - sustain) * np.exp(time * np.float32(-1 / decay))
  shape *= np.minimum(time * np.float32(1 / attack), 1)
  shape *= np.clip((np.float32(end + release) - time) * np.float32(1 / release), 0, 1)
  return shape


def filter_spectrum(sound: np.ndarray, gains: np.ndarray) -> np.ndarray:
  """Applies gains given from 0 Hz to Nyquist (any number of points) to sound [L]."""
  length = scipy.fft.next_fast_len(len(sound), real=True)
  spectrum = scipy.fft.rfft(sound, length)
  points = np.linspace(0, len(gains) - 1, len(spectrum), dtype=np.float32)
  spectrum *= np.interp(points, np.arange(len(gains)), gains).astype(np.float32)
  return scipy.fft.irfft(spectrum, length)[: len(sound)]


def noise(
  rng: np.random.Generator, length: int, sample_rate: int, low: float, high: float
) -> np.ndarray:
  """Noise [L] of unit RMS between two frequencies in Hz, with soft edges.

  Edges above the Nyquist frequency are moved below it, so that there is always
  something to hear.
  """
  nyquist = sample_rate / 2
  high = min(high, 0.95 * nyquist)
  low = min(low, 0.5 * high)
  axis = np.linspace(0, nyquist, 257)
  edge_low = 1 / (1 + (low / np.maximum(axis, 1.0)) ** 6)
  edge_high = 1 / (1 + (axis / high) ** 8)
  white = rng.standard_normal(length, np.float32)
  shaped = filter_spectrum(white, edge_low * edge_high)
  return shaped / max(float(np.sqrt(np.mean(shaped**2))), 1e-9)


def add(track: np.ndarray, sound: np.ndarray, start: float, sample_rate: int) -> None:
  """Adds a sound [..., n] to a track [..., L] in place, cut at the end of the track."""
  first = round(start * sample_rate)
  room = track.shape[-1] - first
  if room > 0:
    track[..., first : first + sound.shape[-1]] += sound[..., :room]


def pan(sound: np.ndarray, position: float) -> np.ndarray:
  """Places a sound [L] between left (-1) and right (1) at equal power -> [2, L]."""
  angle = (position + 1) * np.pi / 4
  gains = np.array([[np.cos(angle)], [np.sin(angle)]], np.float32) * np.float32(2**0.5)
  return gains * sound


class Room:
  """A stereo reverberation: a dense tail of decaying noise, darker as it decays."""

  def __init__(
    self, rng: np.random.Generator, sample_rate: int, length: int, decay: float
  ):
    """Draws the room.

    Args:
      rng: source of its tail.
      sample_rate: in Hz.
      length: samples of the sounds that will be played in it.
      decay: seconds until the tail has fallen by 60 dB.
    """
    self._length = length
    tail = int(decay * sample_rate)
    self._size = scipy.fft.next_fast_len(length + tail, real=True)
    time = seconds_axis(tail, sample_rate)
    response = np.empty((2, tail), np.float32)
    for side in range(2):
      bright = noise(rng, tail, sample_rate, 200, 7000)
      dark = noise(rng, tail, sample_rate, 120, 2000)
      mix = np.exp(time * np.float32(-6 / decay))
      response[side] = bright * mix + dark * (1 - mix)
    response *= np.exp(time * np.float32(-6.9 / decay))
    response[:, : int(0.012 * sample_rate)] = 0
    response /= np.sqrt(np.sum(response**2, axis=1, keepdims=True))
    self._spectrum = scipy.fft.rfft(response, self._size)

  def reverberate(self, sound: np.ndarray) -> np.ndarray:
    """The echo [2, L] of a sound [2, L], without the sound itself."""
    spectrum = scipy.fft.rfft(sound.mean(axis=0), self._size)
    return scipy.fft.irfft(self._spectrum * spectrum, self._size)[:, : self._length]
