"""Melody, bass line and chords over the harmony of a song."""

from collections.abc import Callable

import numpy as np

from data_prep.synthetic.harmony import BARS_PER_PHRASE, Frame
from data_prep.synthetic.score import ChordPart, Note, Syllable

VOWELS = ("a", "e", "i", "o", "u")
# (step, length in steps, role) within one bar; roles are tones of the chord.
BASS_PATTERNS = (
  tuple((step, 2, "root") for step in range(0, 16, 2)),
  ((0, 6, "root"), (6, 2, "root"), (8, 4, "fifth"), (12, 4, "root")),
  tuple((step, 2, "octave" if step % 4 else "root") for step in range(0, 16, 2)),
  ((0, 3, "root"), (3, 3, "root"), (6, 2, "fifth"), (8, 3, "root"), (11, 5, "octave")),
  ((0, 4, "root"), (4, 4, "third"), (8, 4, "fifth"), (12, 4, "third")),
  ((0, 16, "root"),),
)
CHORD_STYLES = {
  "pluck": ("arpeggio", "strum"),
  "keys": ("strum", "arpeggio", "hold"),
  "organ": ("hold", "strum"),
  "strings": ("hold",),
  "pad": ("hold",),
}
STRUMS = (
  (0, 4, 8, 12),
  (0, 3, 6, 8, 11, 14),
  (0, 6, 8, 14),
  (2, 6, 10, 14),
  (0, 2, 4, 6, 8, 10, 12, 14),
)


def _motif(rng: np.random.Generator, steps: int) -> list[tuple[int, int]]:
  """A rhythm of (step, length) that fills a phrase but for a breath at its end."""
  motif = []
  step = int(rng.choice((0, 0, 2, 4)))
  end = steps - int(rng.choice((2, 4, 6)))
  while step < end:
    length = min(int(rng.choice((2, 2, 3, 4, 4, 6, 8))), end - step)
    motif.append((step, length))
    step += length + (2 if rng.random() < 0.12 else 0)
  return motif


def write_melody(
  rng: np.random.Generator, frame: Frame, sounding: np.ndarray
) -> tuple[Syllable, ...]:
  """A sung line: two rhythms that take turns, steps and small leaps in the scale.

  Args:
    rng: source of every decision.
    frame: time and harmony of the song.
    sounding: [phrases] of bool, where the part plays.
  """
  phrase_steps = BARS_PER_PHRASE * frame.bar_steps
  motifs = [_motif(rng, phrase_steps) for _ in range(2)]
  # A low or a high voice, each with a compass of an octave and a third.
  floor = rng.uniform(56, 61) if rng.random() < 0.5 else rng.uniform(44, 50)
  lowest = next(degree for degree in range(-21, 14) if frame.pitch(degree) >= floor)
  degree = lowest + 4
  syllables: list[Syllable] = []
  for phrase in np.flatnonzero(sounding):
    previous = None
    for step, length in motifs[(phrase // 2) % 2]:
      bar = int(phrase) * BARS_PER_PHRASE + step // frame.bar_steps
      if bar >= len(frame.roots):
        break
      degree += int(rng.choice((-3, -2, -1, -1, 0, 1, 1, 2, 3)))
      degree = int(np.clip(degree, lowest, lowest + 9))
      if (
        step % (frame.bar_steps // 2) == 0
      ):  # on a strong beat, sing a tone of the chord
        tones = [tone % 7 for tone in frame.chord_degrees(bar)]
        degree = min(
          (lowest + i for i in range(10) if (lowest + i) % 7 in tones),
          key=lambda tone: (abs(tone - degree), tone),
        )
      pitch = frame.pitch(degree)
      start = frame.time(bar, step % frame.bar_steps) + rng.normal(0, 0.008)
      syllables.append(
        Syllable(
          start=max(0.0, start),
          seconds=frame.duration(length) * 0.96,
          pitch=pitch,
          velocity=float(rng.uniform(0.65, 1.0)),
          vowel=str(rng.choice(VOWELS)),
          consonant=bool(rng.random() < 0.45),
          previous_pitch=pitch - 1 if previous is None else previous,
        )
      )
      previous = pitch
  return tuple(syllables)


def write_bass(
  rng: np.random.Generator, frame: Frame, sounding: np.ndarray
) -> tuple[Note, ...]:
  """A bass line on the chord roots; arguments as in `write_melody`."""
  patterns = [BASS_PATTERNS[i] for i in rng.permutation(len(BASS_PATTERNS))[:2]]
  lowest = int(rng.integers(28, 34))
  length = float(rng.uniform(0.6, 0.98))
  notes = []
  for bar in frame.bars(sounding):
    root, third, fifth = (frame.pitch(d) for d in frame.chord_degrees(bar)[:3])
    root = lowest + (root - lowest) % 12
    tones = {
      "root": root,
      "third": root + (third - root) % 12,
      "fifth": root + (fifth - root) % 12,
      "octave": root + 12,
    }
    for step, steps, role in patterns[(bar // 4) % 2]:
      if step >= frame.bar_steps:
        break
      steps = min(steps, frame.bar_steps - step)
      start = frame.time(bar, step) + rng.normal(0, 0.004)
      seconds = frame.duration(steps) * length
      velocity = float(rng.uniform(0.75, 1.0))
      notes.append(Note(max(0.0, start), seconds, tones[role], velocity))
  return tuple(notes)


def write_chords(
  rng: np.random.Generator, frame: Frame, sounding: np.ndarray
) -> tuple[ChordPart, ...]:
  """One or two chord instruments; arguments as in `write_melody`."""
  families = list(CHORD_STYLES)
  chosen = rng.permutation(len(families))[: 1 + int(rng.random() < 0.6)]
  parts = []
  for place, family in enumerate(families[i] for i in chosen):
    styles = CHORD_STYLES[family]
    style = styles[int(rng.integers(len(styles)))]
    center = int(rng.integers(58, 66)) + 7 * place
    write = _CHORD_WRITERS[style](rng, frame)
    notes = []
    for bar in frame.bars(sounding):
      chord = sorted(
        center + (frame.pitch(d) - center + 6) % 12 - 6
        for d in frame.chord_degrees(bar)
      )
      notes += write(bar, chord)
    parts.append(ChordPart(family, tuple(notes)))
  return tuple(parts)


# Writes the notes of one bar from its number and the pitches of its chord.
_Writer = Callable[[int, list[int]], list[Note]]


def _hold(rng: np.random.Generator, frame: Frame) -> _Writer:
  seconds = frame.duration(frame.bar_steps)

  def write(bar: int, chord: list[int]) -> list[Note]:
    start = frame.time(bar, 0)
    velocity = float(rng.uniform(0.7, 1.0))
    return [Note(start, seconds, pitch, velocity) for pitch in chord]

  return write


def _strum(rng: np.random.Generator, frame: Frame) -> _Writer:
  steps = [s for s in STRUMS[int(rng.integers(len(STRUMS)))] if s < frame.bar_steps]
  spread = float(rng.uniform(0.0, 0.025))

  def write(bar: int, chord: list[int]) -> list[Note]:
    notes = []
    for step, after in zip(steps, [*steps[1:], frame.bar_steps], strict=True):
      seconds = frame.duration(after - step) * 0.9
      velocity = float(rng.uniform(0.6, 1.0))
      for place, pitch in enumerate(chord):
        start = frame.time(bar, step) + place * spread
        notes.append(Note(start, seconds, pitch, velocity))
    return notes

  return write


def _arpeggio(rng: np.random.Generator, frame: Frame) -> _Writer:
  stride = int(rng.choice((2, 2, 1)))
  order = rng.permutation(4)
  seconds = 60 / frame.tempo * 0.75

  def write(bar: int, chord: list[int]) -> list[Note]:
    tones = [*chord, chord[0] + 12][:4]
    notes = []
    for place, step in enumerate(range(0, frame.bar_steps, stride)):
      start = max(0.0, frame.time(bar, step) + rng.normal(0, 0.004))
      pitch = tones[order[place % 4]]
      notes.append(Note(start, seconds, pitch, float(rng.uniform(0.55, 1.0))))
    return notes

  return write


_CHORD_WRITERS = {"hold": _hold, "strum": _strum, "arpeggio": _arpeggio}
