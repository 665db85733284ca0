"""What all parts of a song share: its grid of time, its key and its chords."""

from dataclasses import dataclass

import numpy as np

STEPS_PER_BEAT = 4
BARS_PER_PHRASE = 2

MODES = {
  "major": (0, 2, 4, 5, 7, 9, 11),
  "mixolydian": (0, 2, 4, 5, 7, 9, 10),
  "dorian": (0, 2, 3, 5, 7, 9, 10),
  "minor": (0, 2, 3, 5, 7, 8, 10),
}


@dataclass(frozen=True)
class Frame:
  """Time and harmony of one song; a step is a sixteenth."""

  seconds: float
  tempo: float
  beats: int
  swing: float
  tonic: int
  mode: str
  roots: tuple[int, ...]  # chord root of every bar, a scale degree
  sevenths: bool

  @property
  def bar_steps(self) -> int:
    """Steps in one bar."""
    return self.beats * STEPS_PER_BEAT

  def time(self, bar: int, step: float) -> float:
    """Seconds from the start; eighths off the beat come late where the song swings."""
    late = self.swing if step % STEPS_PER_BEAT == STEPS_PER_BEAT / 2 else 0.0
    return self.duration(bar * self.bar_steps + step + late)

  def pitch(self, degree: int) -> int:
    """MIDI pitch of a scale degree, degree 0 being the tonic near middle C."""
    octave, place = divmod(degree, 7)
    return 60 + self.tonic + 12 * octave + MODES[self.mode][place]

  def chord_degrees(self, bar: int) -> tuple[int, ...]:
    """Scale degrees of the chord of a bar, root first."""
    root = self.roots[bar]
    return tuple(root + step for step in (0, 2, 4, 6)[: 3 + self.sevenths])

  def duration(self, steps: float) -> float:
    """Seconds that so many steps last."""
    return steps * 60 / self.tempo / STEPS_PER_BEAT

  def bars(self, phrases: np.ndarray) -> list[int]:
    """Bars of the phrases that are marked in [phrases] of bool."""
    return [bar for bar in range(len(self.roots)) if phrases[bar // BARS_PER_PHRASE]]
