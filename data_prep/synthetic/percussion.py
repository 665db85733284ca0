"""A drum kit: every drum is rendered once and then struck where the score says."""

from collections.abc import Sequence

import numpy as np

from data_prep.synthetic import signals
from data_prep.synthetic.score import Hit

# Place of each drum in the stereo image; half of the drummers are left-handed.
PANS = {
  "kick": 0.0,
  "snare": 0.1,
  "clap": -0.1,
  "rim": 0.15,
  "hat": 0.4,
  "open": 0.4,
  "ride": -0.5,
  "crash": -0.6,
  "tom": -0.25,
  "low_tom": 0.35,
}


def play_drums(
  rng: np.random.Generator, hits: Sequence[Hit], length: int, sample_rate: int
) -> np.ndarray:
  """Draws a kit and plays it.

  Args:
    rng: source of the kit.
    hits: the strokes.
    length: samples of the result.
    sample_rate: in Hz.

  Returns:
    Sound, float32 [2, L].
  """
  kit = draw_kit(rng, sample_rate)
  side = 1.0 if rng.random() < 0.5 else -1.0
  track = np.zeros((2, length), np.float32)
  stereo = {drum: signals.pan(kit[drum], side * PANS[drum]) for drum in kit}
  for hit in hits:
    signals.add(
      track, stereo[hit.drum] * np.float32(hit.velocity), hit.start, sample_rate
    )
  return track


def draw_kit(rng: np.random.Generator, sample_rate: int) -> dict[str, np.ndarray]:
  """Draws the sounds [L] of one kit, by drum."""
  draw = rng.uniform
  kick_pitch, snare_pitch, tom_pitch = draw(42, 62), draw(160, 240), draw(110, 170)
  brightness = draw(0.75, 1.25)

  def skin(pitch: float, sweep: float, fall: float, decay: float) -> np.ndarray:
    """A drum skin: a sine that falls in pitch and dies away."""
    time = signals.seconds_axis(int(6 * decay * sample_rate), sample_rate)
    hertz = pitch * (1 + sweep * np.exp(time * np.float32(-1 / fall)))
    phase = np.cumsum(hertz, dtype=np.float64) * (2 * np.pi / sample_rate)
    return np.sin(phase).astype(np.float32) * np.exp(time * np.float32(-1 / decay))

  def rattle(low: float, high: float, decay: float) -> np.ndarray:
    """Noise that dies away."""
    samples = int(6 * decay * sample_rate)
    time = signals.seconds_axis(samples, sample_rate)
    sound = signals.noise(rng, samples, sample_rate, low * brightness, high)
    return sound * np.exp(time * np.float32(-1 / decay))

  def metal(low: float, decay: float) -> np.ndarray:
    """A cymbal: noise with a handful of inharmonic partials."""
    sound = rattle(low, 12000, decay)
    time = signals.seconds_axis(len(sound), sample_rate)
    ring = np.zeros_like(sound)
    for partial in rng.uniform(0.5, 0.9, 5) * min(sample_rate / 2, 9000):
      ring += np.sin(np.float32(2 * np.pi * partial) * time)
    return 0.8 * sound + 0.25 * ring * np.exp(time * np.float32(-1 / decay))

  def clap() -> np.ndarray:
    burst = rattle(900, 4500, draw(0.05, 0.1))
    sound = np.zeros(len(burst) + int(0.04 * sample_rate), np.float32)
    for start in (0.0, 0.011, 0.023):
      signals.add(sound, burst, start, sample_rate)
    return sound

  kick = skin(kick_pitch, draw(1.5, 4.0), draw(0.02, 0.05), draw(0.1, 0.22))
  signals.add(kick, 0.2 * rattle(1500, 5000, 0.004), 0, sample_rate)
  snare = 0.35 * rattle(1200, 7000, draw(0.05, 0.11))
  signals.add(
    snare, 0.5 * skin(snare_pitch, 0.4, 0.02, draw(0.04, 0.08)), 0, sample_rate
  )
  rim = 0.4 * rattle(1500, 4000, 0.012)
  signals.add(rim, 0.5 * skin(draw(700, 1000), 0.1, 0.01, 0.012), 0, sample_rate)
  return {
    "kick": 1.2 * kick,
    "snare": snare,
    "clap": 0.35 * clap(),
    "rim": rim,
    "hat": 0.16 * metal(5500, draw(0.015, 0.04)),
    "open": 0.16 * metal(5000, draw(0.09, 0.18)),
    "ride": 0.12 * metal(4000, draw(0.15, 0.3)),
    "crash": 0.2 * metal(2500, draw(0.3, 0.6)),
    "tom": 0.8 * skin(tom_pitch, 0.6, 0.04, draw(0.1, 0.2)),
    "low_tom": 0.8 * skin(0.65 * tom_pitch, 0.6, 0.04, draw(0.12, 0.25)),
  }
