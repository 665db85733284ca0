"""Drum patterns and how a drummer plays them."""

import numpy as np

from data_prep.synthetic.harmony import STEPS_PER_BEAT, Frame
from data_prep.synthetic.score import Hit

# One bar in sixteenths; a capital letter is an accent, "g" a ghost note.
DRUM_PATTERNS = {
  4: (
    {
      "kick": "X.......X.x.....",
      "snare": "....X.......X...",
      "hat": "x.x.x.x.x.x.x.x.",
    },
    {
      "kick": "X...X...X...X...",
      "clap": "....X.......X...",
      "open": "..x...x...x...x.",
    },
    {
      "kick": "X.........x.....",
      "snare": "........X.......",
      "hat": "x.x.x.x.x.x.x.x.",
    },
    {
      "kick": "X..x..x...x..x..",
      "snare": "....X..g.g..X..g",
      "hat": "xgxgxgxgxgxgxgxg",
    },
    {"kick": "X..x..X.x..x..X.", "rim": "x..x..x...x..x..", "hat": "x.x.x.x.x.x.x.x."},
    {
      "kick": "X.....x.X.......",
      "snare": "....X.......X..g",
      "ride": "x...x.x.x...x.x.",
    },
  ),
  3: (
    {"kick": "X...........", "snare": "....x...x...", "hat": "x.x.x.x.x.x."},
    {"kick": "X.....x.....", "snare": "......X.....", "ride": "x...x.x.x..."},
  ),
}


def write_drums(
  rng: np.random.Generator, frame: Frame, sounding: np.ndarray
) -> tuple[Hit, ...]:
  """One groove with missed strokes, fills and crashes.

  Args:
    rng: source of every decision.
    frame: time and harmony of the song.
    sounding: [phrases] of bool, where the drums play.
  """
  patterns = DRUM_PATTERNS[frame.beats]
  pattern = patterns[int(rng.integers(len(patterns)))]
  levels = {"X": 1.0, "x": 0.7, "g": 0.3}
  hits = []
  bars = frame.bars(sounding)
  for bar in bars:
    fill = bar % 4 == 3 and rng.random() < 0.6
    fill_start = frame.bar_steps - STEPS_PER_BEAT if fill else frame.bar_steps
    for drum, line in pattern.items():
      for step, mark in enumerate(line[:fill_start]):
        if mark == "." or rng.random() < 0.04:
          continue
        velocity = levels[mark] * rng.uniform(0.8, 1.0)
        start = frame.time(bar, step) + rng.normal(0, 0.004)
        hits.append(Hit(max(0.0, start), drum, float(velocity)))
    for step in range(fill_start, frame.bar_steps):
      drum = ("snare", "tom", "tom", "low_tom")[step - fill_start]
      hits.append(Hit(frame.time(bar, step), drum, float(rng.uniform(0.6, 1.0))))
    if bar % 8 == 0 or bar - 1 not in bars:
      hits.append(Hit(frame.time(bar, 0), "crash", float(rng.uniform(0.5, 0.9))))
  return tuple(hits)
