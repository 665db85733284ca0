"""What stands between an instrument and the mixing desk: equalizer, drive, tremolo."""

from dataclasses import dataclass

import numpy as np
import scipy.fft

LOWEST_HERTZ = 60.0  # of the equalizer's bands, which are an octave and a half apart
BANDS = 6
# By stem: standard deviation of the equalizer's gains in dB, probability of drive.
STRENGTH = {
  "vocals": (3.5, 0.1),
  "drums": (3.5, 0.15),
  "bass": (2.5, 0.3),
  "other": (4.5, 0.25),
}


@dataclass(frozen=True)
class Effects:
  """The settings of one part."""

  gains: tuple[float, ...]  # of the equalizer's bands in dB
  drive: float  # loudness of the sound in a soft clipper; 0 is none
  tremolo: tuple[float, float]  # in Hz, and depth from 0 to 1

  def __call__(self, sound: np.ndarray, rate: int) -> np.ndarray:
    """Return a sound [2, L] as it leaves the effects."""
    if self.drive:
      loudness = np.sqrt(np.mean(sound[np.abs(sound) > 0] ** 2)) if sound.any() else 1
      sound = np.tanh(self.drive / loudness * sound)
    hertz, depth = self.tremolo
    if depth:
      time = np.arange(sound.shape[1], dtype=np.float32) / rate
      sound = sound * (1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * hertz * time)))
    return self.equalize(sound, rate).astype(np.float32)

  def equalize(self, sound: np.ndarray, rate: int) -> np.ndarray:
    """Return a sound [2, L] with each band louder or softer."""
    size = scipy.fft.next_fast_len(sound.shape[1], real=True)
    hertz = np.maximum(scipy.fft.rfftfreq(size, 1 / rate), 1)
    octaves = np.log2(hertz / LOWEST_HERTZ)
    gains = np.interp(octaves, 1.5 * np.arange(BANDS), self.gains)
    spectrum = scipy.fft.rfft(sound, size) * 10 ** (gains / 20).astype(np.float32)
    return scipy.fft.irfft(spectrum, size)[:, : sound.shape[1]]


def draw_effects(rng: np.random.Generator, stem: str) -> Effects:
  """Draw the effects of a part of a stem."""
  deviation, driven = STRENGTH[stem]
  gains = tuple(rng.normal(0, deviation, BANDS).tolist())
  drive = rng.uniform(0.5, 3) if rng.random() < driven else 0.0
  depth = rng.uniform(0.2, 0.7) if stem == "other" and rng.random() < 0.2 else 0.0
  return Effects(gains, drive, (rng.uniform(3, 8), depth))
