"""Write a short synthetic song: key, tempo, chords, form and every part.

The same seed gives the same song at every sample rate.
"""

from typing import TypeVar

import numpy as np

from data_prep.synthetic import melodies, rhythms
from data_prep.synthetic.harmony import BARS_PER_PHRASE, MODES, Frame
from data_prep.synthetic.score import ChordPart, Hit, Note, Score, Syllable

# Chord roots as scale degrees, one per bar.
BRIGHT_PROGRESSIONS = (
  (0, 4, 5, 3),
  (0, 5, 3, 4),
  (5, 3, 0, 4),
  (0, 3, 4, 3),
  (1, 4, 0, 5),
  (0, 2, 3, 4),
)
DARK_PROGRESSIONS = (
  (0, 5, 2, 6),
  (0, 3, 6, 2),
  (0, 6, 5, 6),
  (0, 3, 0, 4),
  (5, 6, 0, 0),
  (0, 2, 6, 3),
)
# Chance that a part pauses for a phrase.
PAUSES = {"vocals": 0.25, "drums": 0.15, "bass": 0.15, "other": 0.12}

Event = TypeVar("Event", Note, Syllable, Hit)


def compose(rng: np.random.Generator, seconds: float) -> Score:
  """Write one song.

  Args:
    rng: source of every decision.
    seconds: length of the song.

  Returns:
    A score in which each part sounds in at least half of the phrases and most
    parts pause somewhere.
  """
  beats = 3 if rng.random() < 0.15 else 4
  tempo = float(rng.uniform(78, 144))
  num_bars = int(np.ceil(seconds * tempo / 60 / beats))
  mode = str(rng.choice(list(MODES)))
  progressions = (
    BRIGHT_PROGRESSIONS if mode in ("major", "mixolydian") else DARK_PROGRESSIONS
  )
  verse, chorus = (progressions[i] for i in rng.permutation(len(progressions))[:2])
  roots = tuple(
    (chorus if (bar // 4) % 2 else verse)[bar % 4] for bar in range(num_bars)
  )
  frame = Frame(
    seconds=seconds,
    tempo=tempo,
    beats=beats,
    swing=float(rng.uniform(0.3, 0.66)) if rng.random() < 0.25 else 0.0,
    tonic=int(rng.integers(-6, 6)),
    mode=mode,
    roots=roots,
    sevenths=bool(rng.random() < 0.35),
  )
  sounding = _form(rng, -(-num_bars // BARS_PER_PHRASE))
  return Score(
    seconds=seconds,
    tempo=tempo,
    tonic=frame.tonic,
    mode=mode,
    vocals=_before(melodies.write_melody(rng, frame, sounding["vocals"]), seconds),
    drums=_before(rhythms.write_drums(rng, frame, sounding["drums"]), seconds),
    bass=_before(melodies.write_bass(rng, frame, sounding["bass"]), seconds),
    other=tuple(
      ChordPart(part.family, _before(part.notes, seconds))
      for part in melodies.write_chords(rng, frame, sounding["other"])
    ),
  )


def _form(rng: np.random.Generator, num_phrases: int) -> dict[str, np.ndarray]:
  """Which part sounds in which phrase: [phrases] of bool per part."""
  sounding = {}
  for part, chance in PAUSES.items():
    plays = rng.random(num_phrases) >= chance
    if part == "vocals" and num_phrases > 2 and rng.random() < 0.5:
      plays[0] = False  # an instrumental opening
    silent = np.flatnonzero(~plays)
    surplus = len(silent) - num_phrases // 2
    if surplus > 0:
      plays[rng.permutation(silent)[:surplus]] = True
    sounding[part] = plays
  for phrase in range(num_phrases):
    if not any(plays[phrase] for plays in sounding.values()):
      sounding["other"][phrase] = True
  return sounding


def _before(events: tuple[Event, ...], seconds: float) -> tuple[Event, ...]:
  return tuple(event for event in events if event.start < seconds)
