"""Small music files for the tests of the preparations."""

import numpy as np

from mixit_jax.audio.files import write_audio

RATE = 8000


def noise(seed, seconds, rate=RATE, channels=2, level=0.1):
  """Audible noise [C, L] on the grid of 16-bit samples."""
  rng = np.random.default_rng(seed)
  audio = rng.normal(0, level, (channels, round(seconds * rate))).clip(-0.9, 0.9)
  return (np.round(audio * 32768) / 32768).astype(np.float32)


def write(path, audio, rate=RATE, subtype="PCM_16"):
  """Writes a file and returns its path."""
  write_audio(path, audio, rate, subtype)
  return path
