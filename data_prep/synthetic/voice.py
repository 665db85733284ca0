"""A singer: vowels from formants, vibrato, glides, consonants and breath."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.synthetic import signals
from data_prep.synthetic.score import Syllable

# Centers of the first four formants in Hz, of a low voice.
FORMANTS = {
  "a": (730, 1090, 2440, 3400),
  "e": (530, 1840, 2480, 3500),
  "i": (270, 2290, 3010, 3600),
  "o": (570, 840, 2410, 3300),
  "u": (300, 870, 2240, 3200),
}
FORMANT_LEVELS = (1.0, 0.7, 0.5, 0.35)
FORMANT_WIDTHS = (80, 100, 140, 200)


@dataclass(frozen=True)
class Singer:
  """How one voice sounds.

  Attributes:
    tract: factor on all formants; higher for a shorter vocal tract.
    tilt: fall of the harmonics of the glottis: k to the power of -tilt.
    vibrato: depth in cents.
    vibrato_rate: in Hz.
    glide: time constant of the glide into a tone, in seconds.
    breath: level of the breath.
    sibilance: lowest frequency of consonants in Hz.
    pan: place of the voice, -1 to 1.
    doubled: whether a second take is sung along, to the left and right.
  """

  tract: float
  tilt: float
  vibrato: float
  vibrato_rate: float
  glide: float
  breath: float
  sibilance: float
  pan: float
  doubled: bool

  def vowel(self, name: str, fundamental: float, sample_rate: int) -> np.ndarray:
    """The wavetable of a vowel at one pitch."""
    k = signals.audible_harmonics(fundamental, sample_rate)
    spectrum = self._response(name, k * fundamental) * k**-self.tilt
    # A singer evens out most of what the formants do to the loudness.
    power = np.sqrt(np.sum(np.abs(spectrum) ** 2))
    return signals.wavetable(spectrum / power**0.7)

  def _response(self, name: str, hertz: np.ndarray) -> np.ndarray:
    """Complex response of the vocal tract at the frequencies [K]."""
    total = np.zeros(len(hertz), np.complex128)
    for place, formant in enumerate(FORMANTS[name]):
      center = formant * self.tract
      width = FORMANT_WIDTHS[place] * 1.3
      resonance = 1 / (1 + 1j * (hertz**2 - center**2) / (hertz * width))
      total += (-1) ** place * FORMANT_LEVELS[place] * resonance
    return total


def draw_singer(rng: np.random.Generator, high: bool) -> Singer:
  """A singer with a low or a high voice."""
  return Singer(
    tract=float(rng.uniform(1.08, 1.25) if high else rng.uniform(0.9, 1.06)),
    tilt=float(rng.uniform(0.3, 0.8)),
    vibrato=float(rng.uniform(30, 70)),
    vibrato_rate=float(rng.uniform(4.6, 6.6)),
    glide=float(rng.uniform(0.025, 0.08)),
    breath=float(rng.uniform(0.02, 0.12)),
    sibilance=float(rng.uniform(2500, 4500)),
    pan=float(rng.uniform(-0.15, 0.15)),
    doubled=bool(rng.random() < 0.3),
  )


def sing(
  rng: np.random.Generator,
  syllables: Sequence[Syllable],
  singer: Singer,
  length: int,
  sample_rate: int,
) -> np.ndarray:
  """Sings a melody.

  Args:
    rng: source of noise and of what differs between two takes.
    syllables: the melody.
    singer: the voice.
    length: samples of the result.
    sample_rate: in Hz.

  Returns:
    Sound, float32 [2, L].
  """
  if not singer.doubled:
    return signals.pan(_take(rng, syllables, singer, length, sample_rate), singer.pan)
  takes = [_take(rng, syllables, singer, length, sample_rate) for _ in range(2)]
  return 0.6 * (signals.pan(takes[0], -0.6) + signals.pan(takes[1], 0.6))


def _take(
  rng: np.random.Generator,
  syllables: Sequence[Syllable],
  singer: Singer,
  length: int,
  sample_rate: int,
) -> np.ndarray:
  track = np.zeros(length, np.float32)
  hiss = signals.noise(rng, sample_rate, sample_rate, singer.sibilance, 9000)
  air = signals.noise(rng, 4 * sample_rate, sample_rate, 800, 6000)
  neighbor = "a"
  for syllable in syllables:
    start = syllable.start
    if syllable.consonant:
      duration = rng.uniform(0.04, 0.1)
      burst = int(duration * sample_rate)
      offset = int(rng.integers(len(hiss) - burst))
      window = np.hanning(burst).astype(np.float32) * np.float32(
        0.3 * syllable.velocity
      )
      before = max(0.0, start - 0.6 * duration)
      signals.add(track, hiss[offset : offset + burst] * window, before, sample_rate)
    sound = _vowel(rng, syllable, neighbor, singer, sample_rate)
    breath = np.resize(air, len(sound)) * np.abs(sound)
    sound += np.float32(singer.breath) * breath
    signals.add(track, sound, start, sample_rate)
    neighbor = syllable.vowel
  return track


def _vowel(
  rng: np.random.Generator,
  syllable: Syllable,
  neighbor: str,
  singer: Singer,
  sample_rate: int,
) -> np.ndarray:
  """One sung tone, which glides from the pitch and the vowel before it."""
  release = 0.06
  samples = int((syllable.seconds + release) * sample_rate)
  time = signals.seconds_axis(samples, sample_rate)
  fundamental = signals.frequency(syllable.pitch)
  rate, depth = singer.vibrato_rate * rng.uniform(0.94, 1.06), singer.vibrato
  cents = (
    (syllable.previous_pitch - syllable.pitch)
    * 100
    * np.exp(time * np.float32(-1 / singer.glide))
  )
  # Vibrato grows in long tones; the pitch also drifts a little.
  growth = np.clip((time - 0.1) * 5, 0, 1)
  swing = time * np.float32(2 * np.pi * rate) + np.float32(rng.uniform(0, 6.28))
  cents += np.float32(depth) * growth * np.sin(swing)
  cents += np.float32(rng.normal(0, 6))
  hertz = fundamental * np.exp2(cents * np.float32(1 / 1200))
  phase = rng.uniform() + np.cumsum(hertz, dtype=np.float64) / sample_rate
  old, new = signals.lookup(
    singer.vowel(neighbor, fundamental, sample_rate),
    singer.vowel(syllable.vowel, fundamental, sample_rate),
    phase,
  )
  change = np.clip(time * np.float32(1 / 0.09), 0, 1)
  sound = old + (new - old) * change
  # Louder and softer with the vibrato, as in a real throat.
  sound *= 1 + np.float32(0.1) * growth * np.sin(swing + 1)
  shape = signals.envelope(time, 0.035, 1.5, 0.75, syllable.seconds, release)
  return sound * shape * np.float32(syllable.velocity)
