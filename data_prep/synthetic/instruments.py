"""How instruments sound.

An instrument is a function from a note and a timbre to a sound: [L], [1, L] or [2, L],
of any loudness. To add one, write it and enter it in a band, at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.fft

from data_prep.synthetic.signals import envelope, frequency, noise, pan, times, tone


@dataclass(frozen=True)
class Note:
  """What an instrument plays."""

  start: float  # in seconds
  seconds: float
  pitch: int  # MIDI; drums ignore it
  velocity: float  # 1 at most
  sound: str = ""  # the drum that is struck or the syllable that is sung


@dataclass(frozen=True)
class Timbre:
  """How an instrument is set in one song: its part, and four knobs from 0 to 1."""

  rate: int  # sample rate in Hz
  lowest: int  # pitch of the part
  rng: np.random.Generator  # source of noise
  bright: float  # more overtones
  body: float  # size and build
  motion: float  # vibrato and the like
  decay: float  # how slowly a sound changes or dies


Instrument = Callable[[Note, Timbre], np.ndarray]
# From numbers [K] and frequencies [K] of harmonics to their levels.
Spectrum = Callable[[Timbre, np.ndarray, np.ndarray], np.ndarray]


def synthesizer(
  first: Spectrum,
  rest: Spectrum,
  edges: tuple[float, float],
  sustain: float = 1.0,
  vibrato: float = 0.0,
  width: float = 0.0,
) -> Instrument:
  """Return an instrument whose tones turn from a first spectrum into the rest.

  The edges are attack and release in seconds, `sustain` is the loudness of the rest,
  `vibrato` its largest depth in cents. Two takes are `width` cents apart, one more to
  the left and one more to the right; 0 is a single take.
  """

  def play(note: Note, timbre: Timbre) -> np.ndarray:
    hertz = frequency(note.pitch)
    time = times(note.seconds + edges[1], timbre.rate)
    k = np.arange(1, max(int(0.47 * timbre.rate / hertz), 1) + 1)
    turn = np.exp(-time / (0.08 + 0.4 * timbre.decay))
    swing = np.sin(2 * np.pi * (4.5 + 2 * timbre.body) * time)
    swing *= vibrato * timbre.motion * np.clip(5 * time - 0.5, 0, 1)
    takes = []
    for cents in (-width / 2, width / 2) if width else (0,):
      frequencies = hertz * np.exp2((swing + cents) / 1200)
      phase = np.cumsum(frequencies, dtype=float) / timbre.rate
      old, new = (tone(s(timbre, k, k * hertz), phase) for s in (first, rest))
      takes.append(new + (old - new) * turn)
    shape = envelope(time, note.seconds, *edges) * (sustain + (1 - sustain) * turn)
    return shape * (np.stack(takes) + np.mean(takes, axis=0))

  return play


def saw(cutoff: float, even: float = 1.0) -> Spectrum:
  """Return a saw behind a filter in Hz; less of `even` makes it a square wave."""

  def levels(timbre: Timbre, k: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    filtered = 1 / (1 + (hertz / cutoff / (0.6 + 0.8 * timbre.bright)) ** 2)
    return filtered * np.where(k % 2, 1, even) / k

  return levels


def body(resonances: tuple[float, ...], even: float = 1.0) -> Spectrum:
  """Return a saw in a body with resonances in Hz; `even` harmonics may be weak."""

  def levels(timbre: Timbre, k: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    centers = np.array(resonances) * (0.85 + 0.3 * timbre.body)
    distances = np.log2(hertz[:, None] / centers) * 4
    peaks = 0.15 + np.sum(1 / np.hypot(1, distances) ** 2, axis=1)
    return peaks * np.where(k % 2, 1, even) / k ** (1.5 - 0.7 * timbre.bright)

  return levels


def partials(**levels: float) -> Spectrum:
  """Return chosen harmonics of a tone: `partials(h1=1, h4=0.5)`."""
  by_number = {int(name[1:]): level for name, level in levels.items()}

  def spectrum(timbre: Timbre, k: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    chosen = np.array([by_number.get(int(number), 0.0) for number in k])
    return chosen * np.where(k > 1, 0.4 + timbre.bright, 1.0)

  return spectrum


# Centers of formants in Hz, of a long vocal tract.
FORMANTS = {
  "a": (730, 1090, 2440, 3400),
  "e": (530, 1840, 2480, 3500),
  "i": (270, 2290, 3010, 3600),
  "o": (570, 840, 2410, 3300),
  "u": (300, 870, 2240, 3200),
}


def vowel(name: str, throat: float = 1.0) -> Spectrum:
  """Return a vowel; high voices have a short vocal tract and so high formants.

  `throat` multiplies the formants once more.
  """

  def levels(timbre: Timbre, k: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    tract = throat * (0.9 + (timbre.lowest - 44) / 50)
    distances = (hertz[:, None] - tract * np.array(FORMANTS[name])) / 110
    resonances = np.hypot(1, distances) ** -1 @ (1.0, 0.6, 0.4, 0.25)
    return resonances / k ** (1 - timbre.bright / 2)

  return levels


def sing(
  note: Note,
  timbre: Timbre,
  width: float = 0.0,
  throat: float = 1.0,
  vibrato: float = 70.0,
  breath: float = 0.12,
) -> np.ndarray:
  """Sing "s", "t" or nothing, then one vowel or two.

  `width` and `vibrato` as above, `throat` as for vowels; `breath` is the most noise.
  """
  vowels = note.sound.lstrip("st")
  spectra = vowel(vowels[0], throat), vowel(vowels[-1], throat)
  sound = synthesizer(*spectra, (0.04, 0.06), 0.8, vibrato, width)(note, timbre)
  air = timbre.rng.standard_normal(sound.shape, np.float32)
  sound += (0.02 + breath * timbre.body) * air * np.abs(sound)
  if note.sound != vowels:
    seconds = 0.1 if note.sound[0] == "s" else 0.03
    hiss = noise(timbre.rng, seconds, timbre.rate, 3000, 9000)
    sound[..., : len(hiss)] += hiss * np.hanning(len(hiss))
  return sound


def pluck(note: Note, timbre: Timbre, decay: float, damping: float) -> np.ndarray:
  """Pluck a string: a loop of one period, solved in the frequency domain.

  Low harmonics fall by 60 dB in the time `decay`, those at `damping` in half of it.
  """
  hertz, decay = frequency(note.pitch), decay * (0.6 + timbre.decay)
  time = times(note.seconds + 0.1, timbre.rate)
  length = scipy.fft.next_fast_len(len(time) + int(decay * timbre.rate), real=True)
  turns = scipy.fft.rfftfreq(length, 1 / timbre.rate) / hertz  # in one loop
  loss = 1 + (turns * hertz / damping / (0.5 + timbre.bright)) ** 2
  loop = np.exp(-6.9 / decay / hertz * loss - 2j * np.pi * turns)
  place = 0.08 + 0.3 * timbre.body  # where it is plucked, as a share of the string
  burst = (1 - np.exp(-2j * np.pi * turns * place)) / loss
  sound = scipy.fft.irfft(burst / (1 - loop), length)[: len(time)]
  return sound * envelope(time, note.seconds, 0.002, 0.1)


# Place from -1 to 1; pitch in Hz, decay in seconds and level of the skin; lowest
# frequency, decay and level of the rattle.
DRUMS: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
  "kick": (0.0, (52, 0.16, 1.2), (1500, 0.004, 0.2)),
  "snare": (0.1, (200, 0.06, 0.5), (1200, 0.08, 0.35)),
  "rim": (0.15, (850, 0.012, 0.5), (1500, 0.012, 0.4)),
  "clap": (-0.1, (400, 0.01, 0.2), (900, 0.07, 0.4)),
  "hat": (0.4, (3300, 0.01, 0.03), (5500, 0.025, 0.16)),
  "open": (0.4, (3300, 0.02, 0.03), (5000, 0.13, 0.16)),
  "ride": (-0.5, (2700, 0.2, 0.05), (4000, 0.2, 0.12)),
  "crash": (-0.6, (2100, 0.2, 0.03), (2500, 0.45, 0.2)),
  "tom": (-0.25, (120, 0.17, 0.8), (800, 0.02, 0.1)),
}


# Hand drums, brushes and small percussion in the places of the drums above.
PERCUSSION: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
  "kick": (0.0, (85, 0.09, 1.2), (700, 0.012, 0.12)),
  "snare": (-0.2, (300, 0.03, 0.2), (1700, 0.14, 0.35)),
  "rim": (0.3, (1250, 0.03, 0.6), (2400, 0.006, 0.2)),
  "clap": (0.2, (620, 0.05, 0.5), (1400, 0.03, 0.3)),
  "hat": (-0.4, (2600, 0.006, 0.02), (3000, 0.05, 0.2)),
  "open": (-0.3, (3000, 0.03, 0.04), (2800, 0.09, 0.2)),
  "ride": (0.6, (1900, 0.12, 0.1), (3300, 0.1, 0.08)),
  "crash": (0.5, (1500, 0.15, 0.05), (3100, 0.3, 0.2)),
  "tom": (0.25, (170, 0.1, 0.8), (500, 0.02, 0.1)),
}


def strike(
  note: Note,
  timbre: Timbre,
  sweep: float = 0.6,
  drums: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = DRUMS,
) -> np.ndarray:
  """Strike a drum, whose pitch falls by a factor of 1 + `sweep`."""
  place, (hertz, ring, skin), (low, fade, rattle) = drums[note.sound]
  slow, fall = 0.6 + 0.8 * timbre.decay, 0.02 + 0.03 * timbre.motion
  seconds = 6 * slow * max(ring, fade)
  time = times(seconds, timbre.rate)
  turns = time - sweep * fall * np.expm1(-time / fall)
  hertz *= 0.8 + 0.4 * timbre.body
  sound = skin * np.sin(2 * np.pi * hertz * turns) * np.exp(-time / ring / slow)
  hiss = noise(timbre.rng, seconds, timbre.rate, low, 12000)
  sound += (0.5 + timbre.bright) * rattle * hiss * np.exp(-time / fade / slow)
  return pan(sound, place if timbre.body < 0.5 else -place)


Band = dict[str, dict[str, Instrument]]  # stem to the names of its instruments

# Instruments of songs to learn from.
INSTRUMENTS: Band = {
  "vocals": {
    "singer": sing,
    "duet": partial(sing, width=14),
    "deep voice": partial(sing, throat=0.85, vibrato=40),
    "breathy voice": partial(sing, vibrato=25, breath=0.35),
  },
  "drums": {
    "kit": strike,
    "machine": partial(strike, sweep=4),
    "tight kit": partial(strike, sweep=1.5),
  },
  "bass": {
    "electric bass": partial(pluck, decay=3, damping=220),
    "muted bass": partial(pluck, decay=0.8, damping=400),
    "saw bass": synthesizer(saw(900), saw(250), (0.005, 0.05), 0.6),
    "square bass": synthesizer(saw(500, 0.1), saw(300, 0.1), (0.008, 0.05), 0.8),
    "sub bass": synthesizer(saw(120), saw(60), (0.015, 0.08), 0.9),
  },
  "other": {
    "guitar": partial(pluck, decay=2, damping=1800),
    "harp": partial(pluck, decay=4, damping=900),
    "organ": synthesizer(saw(4000, 0.4), saw(3000, 0.4), (0.01, 0.05), 1, 12, 6),
    "accordion": synthesizer(
      body((500, 1300, 2600)), body((600, 1500, 2600)), (0.04, 0.06), 0.9, 10, 20
    ),
    "strings": synthesizer(saw(1500), saw(3000), (0.2, 0.3), 1, 25, 18),
    "pad": synthesizer(saw(400, 0.5), saw(1400, 0.5), (0.35, 0.5), 1, 8, 14),
    "brass": synthesizer(saw(600), saw(3500), (0.05, 0.1), 0.9, 20),
    "clarinet": synthesizer(
      body((900, 1800), 0.08), body((700, 1600), 0.08), (0.03, 0.06), 0.9, 12
    ),
    "lead": synthesizer(saw(5000, 0.2), saw(2000, 0.2), (0.01, 0.08), 0.8, 40),
    "keys": synthesizer(saw(2500, 0.7), saw(600, 0.7), (0.003, 0.2), 0.05),
    "bell": synthesizer(
      partials(h1=1, h3=0.6, h5=0.4, h7=0.4), partials(h1=1, h3=0.2), (0.002, 0.4), 0.1
    ),
  },
}
# Other ones, for songs that test what was learned.
UNHEARD: Band = {
  "vocals": {
    "high voice": partial(sing, throat=1.18, vibrato=100),
    "trio": partial(sing, width=30, throat=0.93, breath=0.2),
  },
  "drums": {"percussion": partial(strike, sweep=1.0, drums=PERCUSSION)},
  "bass": {
    "upright bass": partial(pluck, decay=1.4, damping=130),
    "bassoon": synthesizer(
      body((110, 240, 420)), body((130, 260, 480)), (0.03, 0.06), 0.9
    ),
  },
  "other": {
    "oboe": synthesizer(
      body((1100, 1500, 2900)), body((1050, 1400, 2800)), (0.03, 0.05), 0.9, 25
    ),
    "flute": synthesizer(
      partials(h1=1, h2=0.5, h3=0.2),
      partials(h1=1, h2=0.3, h3=0.1),
      (0.06, 0.08),
      1,
      35,
    ),
    "marimba": synthesizer(
      partials(h1=1, h4=0.6, h10=0.3), partials(h1=1), (0.002, 0.15), 0.02
    ),
    "harpsichord": partial(pluck, decay=1.5, damping=6000),
    "cello section": synthesizer(
      body((250, 600, 1400)), body((300, 700, 2300)), (0.12, 0.2), 1, 30, 24
    ),
  },
}
