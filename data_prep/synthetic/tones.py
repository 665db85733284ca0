"""Pitched instruments: bass and chord instruments, each a family of timbres."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.synthetic import signals
from data_prep.synthetic.score import Note


@dataclass(frozen=True)
class Timbre:
  """How one pitched instrument sounds.

  A tone crossfades from a bright to a dark spectrum while its envelope runs.

  Attributes:
    tilt: fall of the harmonics in the dark spectrum: k to the power of -tilt.
    brightness: how much flatter the bright spectrum falls.
    brightness_decay: time constant of the crossfade in seconds.
    even: level of the even harmonics, 1 for all alike.
    pluck: place on the string that is plucked, in (0, 0.5); 0 for none.
    drawbars: levels of the first harmonics instead of a tilt; empty for none.
    cutoff: frequency in Hz above which the body of the instrument swallows.
    resonance: a frequency in Hz that the body favors.
    attack: seconds, as are decay and release.
    decay: see `signals.envelope`.
    sustain: see `signals.envelope`.
    release: see `signals.envelope`.
    voices: unison voices, spread over the stereo image.
    detune: distance of the outer voices in cents.
    width: where the outer voices are in the stereo image, 0 to 1.
    pan: place of the whole instrument, -1 to 1.
    vibrato: depth in cents.
    tremolo: depth, 0 to 1.
    wobble_rate: rate of vibrato and tremolo in Hz.
  """

  tilt: float
  brightness: float
  brightness_decay: float
  cutoff: float
  resonance: float
  attack: float
  decay: float
  sustain: float
  release: float
  even: float = 1.0
  pluck: float = 0.0
  drawbars: tuple[float, ...] = ()
  voices: int = 1
  detune: float = 0.0
  width: float = 0.0
  pan: float = 0.0
  vibrato: float = 0.0
  tremolo: float = 0.0
  wobble_rate: float = 5.0

  def tables(
    self, fundamental: float, sample_rate: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """The dark wavetable at one pitch, and what the bright one has besides."""
    k = signals.audible_harmonics(fundamental, sample_rate)
    hertz = k * fundamental
    body = np.exp(-((hertz / self.cutoff) ** 2)) + 0.02
    body *= 1 + 1.5 * np.exp(-((np.log2(hertz / self.resonance) / 0.4) ** 2))
    body[1::2] *= self.even
    if self.pluck:
      body *= np.abs(np.sin(np.pi * k * self.pluck)) + 0.05
    dark = k ** -float(self.tilt)
    bright = k ** -float(self.tilt - self.brightness)
    if self.drawbars:
      dark = np.zeros(len(k))
      dark[: len(self.drawbars)] = self.drawbars[: len(k)]
      bright = np.minimum(dark + 0.1 / k, 1)
    # Quadratic phases spread the energy over the period.
    phases = np.exp(-1j * np.pi * (0.5 + k * (k - 1) / max(len(k), 2)))

    def table(spectrum: np.ndarray) -> np.ndarray:
      # Equal power at every pitch, as a player would aim for.
      power = np.sqrt(np.sum(spectrum**2))
      return signals.wavetable(spectrum / power * phases)

    low = table(dark * body)
    return low, table(bright * body) - low


def draw_bass(rng: np.random.Generator) -> Timbre:
  """A finger, pick or synth bass, or something between."""
  kind = rng.choice(("finger", "pick", "saw", "square", "round"))
  plucked = kind in ("finger", "pick")
  return Timbre(
    tilt={"finger": 1.9, "pick": 1.5, "saw": 1.3, "square": 1.4, "round": 2.8}[kind]
    + rng.uniform(-0.15, 0.15),
    brightness=rng.uniform(0.3, 0.7),
    brightness_decay=rng.uniform(0.08, 0.35),
    cutoff=rng.uniform(500, 1100) * (1.5 if kind in ("pick", "saw") else 1),
    resonance=rng.uniform(90, 260),
    attack=rng.uniform(0.004, 0.015),
    decay=rng.uniform(0.4, 1.0) if plucked else rng.uniform(1.0, 2.5),
    sustain=rng.uniform(0.1, 0.3) if plucked else rng.uniform(0.6, 0.9),
    release=rng.uniform(0.03, 0.08),
    even=rng.uniform(0.05, 0.2) if kind == "square" else 1.0,
    pluck=rng.uniform(0.1, 0.3) if plucked else 0.0,
    pan=rng.uniform(-0.1, 0.1),
  )


def draw_chords(rng: np.random.Generator, family: str, side: float) -> Timbre:
  """An instrument of one of the families of chord instruments.

  Args:
    rng: source of the timbre.
    family: "pluck", "keys", "organ", "strings" or "pad".
    side: where the instrument stands, -1 to 1.
  """
  draw = rng.uniform
  if family == "pluck":
    return Timbre(
      tilt=draw(1.0, 1.6),
      brightness=draw(0.4, 0.8),
      brightness_decay=draw(0.1, 0.4),
      cutoff=draw(2500, 5000),
      resonance=draw(200, 900),
      attack=draw(0.002, 0.006),
      decay=draw(0.25, 0.8),
      sustain=0.02,
      release=draw(0.1, 0.3),
      pluck=draw(0.08, 0.4),
      pan=side,
    )
  if family == "keys":
    return Timbre(
      tilt=draw(1.5, 2.8),
      brightness=draw(0.4, 1.2),
      brightness_decay=draw(0.15, 0.5),
      cutoff=draw(2000, 4500),
      resonance=draw(300, 1500),
      attack=draw(0.003, 0.01),
      decay=draw(0.5, 1.4),
      sustain=draw(0.05, 0.2),
      release=draw(0.1, 0.25),
      even=draw(0.3, 1.0),
      pan=0.6 * side,
      tremolo=draw(0.0, 0.35),
      wobble_rate=draw(3, 6),
    )
  if family == "organ":
    bars = (
      1.0,
      *rng.uniform(0.2, 0.9, 3),
      0.0,
      rng.uniform(0.1, 0.5),
      0.0,
      rng.uniform(0.1, 0.5),
    )
    return Timbre(
      tilt=1.0,
      brightness=0.0,
      brightness_decay=draw(0.02, 0.06),
      cutoff=draw(3000, 6000),
      resonance=draw(400, 1500),
      attack=draw(0.008, 0.02),
      decay=5.0,
      sustain=draw(0.9, 1.0),
      release=draw(0.03, 0.08),
      drawbars=tuple(float(bar) for bar in bars),
      voices=2,
      detune=draw(4, 10),
      width=draw(0.4, 0.8),
      pan=0.4 * side,
      vibrato=draw(3, 10),
      tremolo=draw(0.1, 0.3),
      wobble_rate=draw(5.5, 7),
    )
  if family == "strings":
    return Timbre(
      tilt=draw(0.9, 1.3),
      brightness=draw(-0.4, 0.0),
      brightness_decay=draw(0.2, 0.5),
      cutoff=draw(2200, 4000),
      resonance=draw(400, 1200),
      attack=draw(0.12, 0.3),
      decay=4.0,
      sustain=draw(0.8, 1.0),
      release=draw(0.2, 0.4),
      voices=3,
      detune=draw(14, 26),
      width=draw(0.6, 1.0),
      pan=0.3 * side,
      vibrato=draw(8, 18),
      wobble_rate=draw(4.5, 6),
    )
  return Timbre(
    tilt=draw(1.6, 2.4),
    brightness=draw(-0.6, 0.4),
    brightness_decay=draw(0.5, 1.5),
    cutoff=draw(900, 2200),
    resonance=draw(300, 1000),
    attack=draw(0.2, 0.5),
    decay=4.0,
    sustain=draw(0.8, 1.0),
    release=draw(0.3, 0.6),
    even=draw(0.2, 1.0),
    voices=2,
    detune=draw(10, 20),
    width=draw(0.7, 1.0),
    pan=0.3 * side,
    tremolo=draw(0.0, 0.3),
    wobble_rate=draw(0.3, 1.5),
  )


def play(
  rng: np.random.Generator,
  notes: Sequence[Note],
  timbre: Timbre,
  length: int,
  sample_rate: int,
) -> np.ndarray:
  """Plays notes on an instrument.

  Args:
    rng: source of the phases.
    notes: what to play.
    timbre: the instrument.
    length: samples of the result.
    sample_rate: in Hz.

  Returns:
    Sound, float32 [2, L].
  """
  places = np.linspace(-1, 1, timbre.voices) if timbre.voices > 1 else np.zeros(1)
  tracks = np.zeros((len(places), length), np.float32)  # one per unison voice
  tables: dict[float, tuple[np.ndarray, np.ndarray]] = {}
  for note in notes:
    fundamental = signals.frequency(note.pitch)
    if note.pitch not in tables:
      tables[note.pitch] = timbre.tables(fundamental, sample_rate)
    samples = int((note.seconds + timbre.release) * sample_rate)
    time = signals.seconds_axis(samples, sample_rate)
    shape = signals.envelope(
      time, timbre.attack, timbre.decay, timbre.sustain, note.seconds, timbre.release
    )
    shape *= np.float32(note.velocity / len(places))
    periods = np.arange(samples) * (fundamental / sample_rate)
    if timbre.tremolo or timbre.vibrato:
      turns = 2 * np.pi * timbre.wobble_rate
      wobble = 1 + np.sin(time * np.float32(turns) + np.float32(rng.uniform(0, 6.28)))
      shape *= 1 - np.float32(timbre.tremolo / 2) * wobble
      # Depth in cents of a sine, as a deviation of the phase in periods.
      periods += wobble * (fundamental * timbre.vibrato / 1731 / turns)
    fade = shape * np.exp(time * np.float32(-1 / timbre.brightness_decay))
    for place, track in zip(places, tracks, strict=True):
      detuned = 2 ** (place * timbre.detune / 2400)
      phase = periods * detuned + rng.uniform()
      dark, bright = signals.lookup(*tables[note.pitch], phase)
      signals.add(track, dark * shape + bright * fade, note.start, sample_rate)
  positions = np.clip(timbre.pan + places * timbre.width, -1, 1)
  return sum(
    (signals.pan(track, at) for track, at in zip(tracks, positions, strict=True)),
    start=np.zeros((2, length), np.float32),
  )
