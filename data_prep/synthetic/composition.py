"""How songs are composed: key, tempo, chords, form, and the notes of every part.

A rhythm has one character per sixteenth: "-" holds the note before, "." is silence, and
any other begins a note. What the others mean is up to the part.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from data_prep.synthetic.instruments import INSTRUMENTS, Note

MAJOR = (0, 2, 4, 5, 7, 9, 11)
# Roots of the chords of four bars, as degrees of the scale; degree 5 is its minor.
CHORDS = ("0453", "0534", "0343", "1405", "5304", "5134", "5434", "1414", "4304")
VELOCITIES = {"X": 1.0, "x": 0.7, "g": 0.3}
GROOVES = (
  {"kick": "X.......X.x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
  {"kick": "X...X...X...X...", "clap": "....X.......X...", "open": "..x...x...x...x."},
  {"kick": "X.........x.....", "snare": "........X.......", "hat": "x.x.x.x.x.x.x.x."},
  {"kick": "X..x..x...x..x..", "snare": "....X..g.g..X..g", "hat": "xgxgxgxgxgxgxgxg"},
  {"kick": "X..x..X.x..x..X.", "rim": "x..x..x...x..x..", "hat": "x.x.x.x.x.x.x.x."},
  {"kick": "X.....x.X.......", "snare": "....X.......X..g", "ride": "x...x.x.x...x.x."},
)
FILLS = ("XxXx", "X.xx", "..XX")
# Tones of the chord by number, from the root up; "x" is the whole chord.
RHYTHMS = {
  "bass": (
    "0-0-0-0-0-0-0-0-",
    "0-3-0-3-0-3-0-3-",
    "0-----0-2---0---",
    "0--0--2-0--3----",
    "0---1---2---1---",
    "0---------------",
  ),
  "other": (
    "x---------------",
    "x---x---x---x---",
    "x--x--x-x--x--x-",
    "..x-..x-..x-..x-",
    "0-1-2-3-2-1-2-1-",
    "0-2-1-2-3-2-1-2-",
    "0123012301230123",
  ),
}
# Lengths of the notes of a melody, and its syllables: consonants and vowels.
LENGTHS = ("x-", "x-", "x--", "x---", "x---", "x-----", "x-------", "..")
CONSONANTS = ("", "", "s", "t")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ou", "ia", "eu")
# Range of the lowest pitch of a part.
LOWEST = {"vocals": (42, 64), "drums": (0, 1), "bass": (27, 40), "other": (40, 68)}


@dataclass(frozen=True)
class Part:
  """What one instrument plays, from its lowest pitch up."""

  stem: str
  instrument: str  # its name among those of the stem
  lowest: int
  notes: list[Note]


def draw_ensemble(rng: np.random.Generator, stems: Collection[str]) -> list[str]:
  """Draw what plays in music of any kind: one stem to all, each number as likely."""
  count = int(rng.integers(1, len(stems), endpoint=True))
  chosen = set(rng.permutation(list(stems))[:count].tolist())
  return [stem for stem in stems if stem in chosen]


def compose(
  rng: np.random.Generator,
  seconds: float,
  band: Mapping[str, Collection[str]] = INSTRUMENTS,
  form: np.random.Generator | None = None,
) -> list[Part]:
  """Compose the parts of a song, one for each stem and up to three for "other".

  Args:
    rng: decides on everything, but for what `form` decides on.
    seconds: length of the song.
    band: names of the instruments to choose from, by stem.
    form: decides on tempo, meter, swing, key and chords; equal ones make songs that
      fit together.
  """
  composer = Composer(rng, seconds, form)
  writers = {"vocals": composer.write_melody, "drums": composer.write_drums}
  parts = []
  for stem, instruments in band.items():
    bars = composer.draw_bars()
    count = int(rng.choice((1, 2, 3), p=(0.4, 0.4, 0.2))) if stem == "other" else 1
    for name in rng.permutation(list(instruments))[:count]:
      part = Part(stem, str(name), int(rng.integers(*LOWEST[stem])), [])
      for note in writers.get(stem, composer.write_harmony)(part, bars):
        start = max(0.0, note.start + rng.normal(0, 0.005))
        velocity = note.velocity * rng.uniform(0.7, 1)
        if start < seconds:
          part.notes.append(replace(note, start=start, velocity=velocity))
      parts.append(part)
  return parts


class Composer:
  """Time and harmony of one song; a step is a sixteenth."""

  def __init__(
    self,
    rng: np.random.Generator,
    seconds: float,
    form: np.random.Generator | None = None,
  ):
    """Draw tempo, meter, swing, key and chords, from `form` if given."""
    self.rng = rng
    form = form or rng
    self.step_seconds = 15 / form.uniform(78, 144)
    self.bar_steps = 12 if form.random() < 0.15 else 16
    self.swing = form.uniform(0.3, 0.66) if form.random() < 0.25 else 0.0
    tonics = range(int(form.integers(12)), 100, 12)
    self.scale = [tonic + step for tonic in tonics for step in MAJOR]
    self.chord_size = 4 if form.random() < 0.35 else 3
    verse, chorus = form.choice(CHORDS, 2)
    num_bars = int(np.ceil(seconds / self.step_seconds / self.bar_steps))
    self.roots = [int((verse + chorus)[bar % 8]) for bar in range(num_bars)]

  def draw_bars(self) -> list[int]:
    """Draw the bars in which a part plays: it pauses for two bars now and then."""
    bars = range(len(self.roots))
    pauses = self.rng.random(len(bars) // 2 + 1) < 0.18
    playing = [bar for bar in bars if not pauses[bar // 2]]
    return playing if 2 * len(playing) >= len(bars) else list(bars)

  def chord(self, bar: int, lowest: int) -> list[int]:
    """Return the pitches of a chord within an octave, root first."""
    tones = (self.scale[self.roots[bar] + 2 * i] for i in range(self.chord_size))
    return [lowest + (tone - lowest) % 12 for tone in tones]

  def read(self, bar: int, rhythm: str) -> Iterator[tuple[float, float, str]]:
    """Yield start and length in seconds and the character of every note."""
    for note in re.finditer("[^-.]-*", rhythm[: self.bar_steps]):
      late = self.swing if note.start() % 4 == 2 else 0.0
      start = (bar * self.bar_steps + note.start() + late) * self.step_seconds
      yield start, len(note[0]) * self.step_seconds, note[0][0]

  def write_melody(self, part: Part, bars: list[int]) -> Iterator[Note]:
    """Yield a melody in small steps, whose bars begin with tones of the chords."""
    scale = [pitch for pitch in self.scale if 0 <= pitch - part.lowest <= 16]
    rhythms = ["".join(self.rng.choice(LENGTHS, 8))[:15] for _ in range(3)]
    place = len(scale) // 2
    for bar in bars:
      chord = {tone % 12 for tone in self.chord(bar, part.lowest)}
      near = [i for i, pitch in enumerate(scale) if pitch % 12 in chord]
      place = min(near, key=lambda i: abs(i - place))
      for start, seconds, _ in self.read(bar, rhythms[bar % 3]):
        syllable = self.rng.choice(CONSONANTS) + self.rng.choice(VOWELS)
        yield Note(start, 0.95 * seconds, scale[place], 1.0, syllable)
        place += int(self.rng.choice((-3, -2, -1, -1, 0, 1, 1, 2, 3)))
        place = min(max(place, 0), len(scale) - 1)

  def write_drums(self, part: Part, bars: list[int]) -> Iterator[Note]:
    """Yield a groove with missed strokes, fills and crashes."""
    groove = (
      self.invent_groove()
      if self.rng.random() < 0.5
      else GROOVES[self.rng.integers(len(GROOVES))]
    )
    for bar in bars:
      lines = dict(groove)
      if bar % 4 == 3 and self.rng.random() < 0.6:
        before = self.bar_steps - 4
        lines = {drum: line[:before] for drum, line in groove.items()}
        lines["tom"] = "." * before + self.rng.choice(FILLS)
      if bar % 8 == 0 or bar - 1 not in bars:
        lines["crash"] = "X"
      for drum, line in lines.items():
        for start, _, mark in self.read(bar, line):
          if self.rng.random() < 0.96:
            yield Note(start, 0.0, 0, VELOCITIES[mark], drum)

  def invent_groove(self) -> dict[str, str]:
    """Draw a groove: strokes are likelier on strong steps."""
    strong = np.array((4, 0, 1, 0, 2, 0, 1, 0) * 2)

    def line(likely: np.ndarray, marks: str) -> str:
      struck = self.rng.random(16) < likely
      return "".join(self.rng.choice(list(marks)) if hit else "." for hit in struck)

    back = str(self.rng.choice(("snare", "clap", "rim")))
    top = str(self.rng.choice(("hat", "open", "ride")))
    return {
      "kick": "X" + line(0.1 + 0.12 * strong, "Xx")[1:],
      back: line(np.where(np.arange(16) % 8 == 4, 0.95, 0.12), "Xxg"),
      top: line(np.minimum(0.25 + 0.3 * strong, 1), "xxg"),
    }

  def invent_rhythm(self, stem: str) -> str:
    """Draw a rhythm of chords ("other" only), or of their tones."""
    marks = "x" if stem == "other" and self.rng.random() < 0.5 else "0123"
    busy = self.rng.uniform(0.15, 0.6)
    rhythm = "0" if marks != "x" else "x"
    for step in range(1, 16):
      strong = 1.6 if step % 4 == 0 else 0.8
      new = self.rng.choice(list(marks)) if self.rng.random() < busy * strong else ""
      rhythm += new or ("." if self.rng.random() < 0.15 else "-")
    # A hold after a silence would hold nothing.
    return re.sub(r"\.-+", lambda rest: "." * len(rest[0]), rhythm)

  def write_harmony(self, part: Part, bars: list[int]) -> Iterator[Note]:
    """Yield chords or their tones, in one rhythm for verses, one for choruses."""
    verse, chorus = (
      self.invent_rhythm(part.stem)
      if self.rng.random() < 0.5
      else str(self.rng.choice(RHYTHMS[part.stem]))
      for _ in range(2)
    )
    held = self.rng.uniform(0.6, 1)
    for bar in bars:
      chord = self.chord(bar, part.lowest)
      tones = [*chord, chord[0] + 12]
      for start, seconds, mark in self.read(bar, chorus if bar // 4 % 2 else verse):
        for pitch in chord if mark == "x" else [tones[int(mark)]]:
          yield Note(start, held * seconds, pitch, 1.0)
