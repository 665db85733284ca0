"""How songs are played, mixed and written to files."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.synthetic.composition import Part, compose
from data_prep.synthetic.instruments import Timbre
from data_prep.synthetic.signals import pan, room
from mixit_jax.audio.files import write_audio

PEAK = 0.9
PCM_SCALE = 32768  # of samples in 16-bit files
# By stem: level in dB, farthest place from the center, most of the room.
MIX = {
  "vocals": (1.5, 0.15, 0.3),
  "drums": (0.0, 0.0, 0.12),
  "bass": (-0.5, 0.1, 0.0),
  "other": (-2.0, 0.8, 0.3),
}


@dataclass(frozen=True)
class Song:
  """The making of a song: a folder of stems as in MUSDB18-HQ, or a file of the mix."""

  path: Path  # with a suffix: a file in that format
  seed: tuple[int, ...]  # which song
  seconds: float
  sample_rate: int

  def is_finished(self) -> bool:
    """Tell whether the song exists."""
    return self.path.exists()

  def run(self) -> None:
    """Make the song. The mixture in a folder is exactly the sum of the stems."""
    stems = render(self.seed, self.seconds, self.sample_rate)
    mixture = np.sum(list(stems.values()), axis=0)
    if self.path.suffix:
      subtype = "PCM_16" if self.path.suffix == ".flac" else None
      write_audio(self.path, mixture, self.sample_rate, subtype)
      return
    unfinished = self.path.with_name(f".{self.path.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    for name, sound in {**stems, "mixture": mixture}.items():
      write_audio(unfinished / f"{name}.wav", sound, self.sample_rate, "PCM_16")
    unfinished.replace(self.path)


def render(seed: tuple[int, ...], seconds: float, rate: int) -> dict[str, np.ndarray]:
  """Return the stems [2, L] of a song: they and their sum are exact in 16 bits.

  The seed determines the music; the sample rate in Hz changes only its sound.
  """
  # Two generators, since the amount of noise drawn depends on the sample rate.
  seeds = np.random.SeedSequence(seed).spawn(2)
  decide, noise = (np.random.default_rng(child) for child in seeds)
  length = round(seconds * rate)
  stems = {stem: np.zeros((2, length), np.float32) for stem in MIX}
  echo = room(noise, length, rate, decay=decide.uniform(0.35, 1.1))
  for part in compose(decide, seconds):
    level, width, most_wet = MIX[part.stem]
    timbre = Timbre(rate, part.lowest, noise, *decide.random(4).tolist())
    sound = pan(play(part, timbre, length), decide.uniform(-width, width))
    if most_wet:
      sound += decide.uniform(most_wet / 4, most_wet) * echo(sound)
    loud = sound[np.abs(sound) >= 0.02 * np.abs(sound).max()]
    decibels = level + decide.uniform(-2.5, 2.5)
    sound *= 10 ** (decibels / 20) / (float(np.sqrt(np.mean(loud**2))) or 1)
    stems[part.stem] += sound
  mixture = np.sum(list(stems.values()), axis=0)
  peak = max(np.abs(sound).max() for sound in (mixture, *stems.values()))
  scale = PEAK * PCM_SCALE / peak
  return {stem: np.round(sound * scale) / PCM_SCALE for stem, sound in stems.items()}


def play(part: Part, timbre: Timbre, length: int) -> np.ndarray:
  """Return what an instrument plays [2, L]; equal notes sound alike."""
  sounds: dict[tuple[int, float, str], np.ndarray] = {}
  track = np.zeros((2, length), np.float32)
  for note in part.notes:
    kind = (note.pitch, note.seconds, note.sound)
    if kind not in sounds:
      sounds[kind] = part.instrument(note, timbre).astype(np.float32)
    rest = track[:, int(note.start * timbre.rate) :]
    sound = sounds[kind][..., : rest.shape[1]]
    rest[:, : sound.shape[-1]] += note.velocity * sound
  return track
