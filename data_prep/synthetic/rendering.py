"""Renders whole synthetic songs: composed, played, mixed into stems."""

import numpy as np

from data_prep.synthetic import percussion, signals, tones, voice
from data_prep.synthetic.composition import compose
from data_prep.synthetic.score import Score

STEMS = ("vocals", "drums", "bass", "other")
PEAK = 0.9
# Level of each stem where it sounds, in dB, and how far songs differ from it.
LEVELS = {
  "vocals": (1.5, 2.0),
  "drums": (0.0, 2.0),
  "bass": (-0.5, 2.0),
  "other": (-2.0, 2.0),
}
# How much of the room each stem gets, relative to its own level; bass stays dry.
REVERB = {"vocals": (0.1, 0.3), "drums": (0.03, 0.12), "other": (0.08, 0.3)}


def render_song(
  seed: tuple[int, ...], seconds: float, sample_rate: int
) -> dict[str, np.ndarray]:
  """Renders one song as its stems.

  Args:
    seed: numbers that name the song; equal ones give equal songs.
    seconds: length.
    sample_rate: in Hz.

  Returns:
    The stems by name, float32 [2, L]. They share one scale, with which neither a
    stem nor their sum exceeds a peak of 0.9.
  """
  write, perform = (
    np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)
  )
  score = compose(write, seconds)
  length = round(seconds * sample_rate)
  stems = _perform(perform, score, length, sample_rate)
  room = signals.Room(perform, sample_rate, length, perform.uniform(0.35, 1.1))
  for stem, sound in stems.items():
    if stem in REVERB:
      sound += np.float32(perform.uniform(*REVERB[stem])) * room.reverberate(sound)
    level, spread = LEVELS[stem]
    gain = 10 ** ((level + perform.uniform(-spread, spread)) / 20)
    sound *= np.float32(gain / max(_loudness(sound, sample_rate), 1e-6))
  mixture = sum(stems.values())
  peak = max(float(np.abs(sound).max()) for sound in (mixture, *stems.values()))
  return {stem: sound * np.float32(PEAK / peak) for stem, sound in stems.items()}


def _perform(
  rng: np.random.Generator, score: Score, length: int, sample_rate: int
) -> dict[str, np.ndarray]:
  high = bool(np.median([note.pitch for note in score.vocals] or [60]) > 61)
  singer = voice.draw_singer(rng, high)
  bass = tones.draw_bass(rng)
  side = rng.uniform(0.3, 0.9) * rng.choice((-1, 1))
  other = np.zeros((2, length), np.float32)
  for place, part in enumerate(score.other):
    timbre = tones.draw_chords(rng, part.family, side if place == 0 else -side)
    other += tones.play(rng, part.notes, timbre, length, sample_rate)
  return {
    "vocals": voice.sing(rng, score.vocals, singer, length, sample_rate),
    "drums": percussion.play_drums(rng, score.drums, length, sample_rate),
    "bass": tones.play(rng, score.bass, bass, length, sample_rate),
    "other": other,
  }


def _loudness(sound: np.ndarray, sample_rate: int) -> float:
  """RMS over the tenths of a second in which something sounds."""
  step = sample_rate // 10
  frames = sound[:, : sound.shape[1] // step * step].reshape(2, -1, step)
  power = np.mean(frames**2, axis=(0, 2))
  sounding = power > 1e-3 * power.max(initial=0.0)
  return float(np.sqrt(np.mean(power[sounding]))) if sounding.any() else 0.0
