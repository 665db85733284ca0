"""What a song is on paper: parts as lists of timed notes, in seconds and MIDI pitches.

A score knows nothing of sound.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
  """One tone: start and length in seconds, MIDI pitch, velocity in (0, 1]."""

  start: float
  seconds: float
  pitch: float
  velocity: float


@dataclass(frozen=True)
class Syllable(Note):
  """A sung tone: its vowel, whether a consonant opens it, and the pitch before it."""

  vowel: str
  consonant: bool
  previous_pitch: float


@dataclass(frozen=True)
class Hit:
  """One stroke on one drum."""

  start: float
  drum: str
  velocity: float


@dataclass(frozen=True)
class ChordPart:
  """What one chord instrument plays."""

  family: str
  notes: tuple[Note, ...]


@dataclass(frozen=True)
class Score:
  """A song: every part as notes, none of which starts after `seconds`."""

  seconds: float
  tempo: float
  tonic: int
  mode: str
  vocals: tuple[Syllable, ...]
  drums: tuple[Hit, ...]
  bass: tuple[Note, ...]
  other: tuple[ChordPart, ...]
