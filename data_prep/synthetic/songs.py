"""How songs are played, mixed and written to files."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.synthetic.composition import Part, compose, draw_ensemble
from data_prep.synthetic.effects import draw_effects
from data_prep.synthetic.instruments import (
  INSTRUMENTS,
  UNHEARD,
  Band,
  Instrument,
  Timbre,
)
from data_prep.synthetic.signals import pan, room
from mixit_jax.audio.files import write_audio

PEAK = 0.9
PCM_SCALE = 32768  # of samples in 16-bit files
LEVEL_DB = 4.0  # parts are up to this much louder or softer
# By stem: level in dB, farthest place from the center, most of the room.
MIX = {
  "vocals": (1.5, 0.25, 0.5),
  "drums": (0.0, 0.15, 0.25),
  "bass": (-0.5, 0.15, 0.1),
  "other": (-2.0, 0.9, 0.5),
}
# From a part, its timbre and the length of the song to the sound of the part [2, L].
Player = Callable[[Part, Timbre, int], np.ndarray]


@dataclass(frozen=True)
class BaseSong(ABC):
  """The making of a song: a folder of stems as in MUSDB18-HQ, or a file of the mix."""

  path: Path  # with a suffix: a file in that format
  seed: tuple[int, ...]  # which song
  seconds: float
  sample_rate: int
  ensemble: str  # "full": all stems sound; "any": some of them

  def is_finished(self) -> bool:
    """Tell whether the song exists."""
    return self.path.exists()

  def run(self) -> None:
    """Make the song. The mixture in a folder is exactly the sum of the stems."""
    stems = self.stems()
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

  @abstractmethod
  def stems(self) -> dict[str, np.ndarray]:
    """Return the stems [2, L] of the song."""

  @property
  def playing(self) -> list[str]:
    """The stems that are not silent throughout."""
    if self.ensemble == "full":
      return list(MIX)
    return draw_ensemble(np.random.default_rng((*self.seed, 1)), MIX)


@dataclass(frozen=True)
class Song(BaseSong):
  """A song on synthesizers of our own."""

  band: str = "heard"  # which instruments play: "heard" or "unheard"

  def stems(self) -> dict[str, np.ndarray]:
    """Return the stems [2, L] of the song."""
    band = UNHEARD if self.band == "unheard" else INSTRUMENTS
    band = {stem: band[stem] for stem in self.playing}
    return render(self.seed, self.seconds, self.sample_rate, band)


def render(
  seed: tuple[int, ...],
  seconds: float,
  rate: int,
  band: Band = INSTRUMENTS,
  form: tuple[int, ...] | None = None,
) -> dict[str, np.ndarray]:
  """Return the stems of a song that a band of instruments plays; see `perform`."""

  def player(part: Part, timbre: Timbre, length: int) -> np.ndarray:
    return play(part, band[part.stem][part.instrument], timbre, length)

  return perform(seed, seconds, rate, band, player, form)


def perform(
  seed: tuple[int, ...],
  seconds: float,
  rate: int,
  band: Mapping[str, Collection[str]],
  player: Player,
  form: tuple[int, ...] | None = None,
) -> dict[str, np.ndarray]:
  """Return the stems [2, L] of a song: they and their sum are exact in 16 bits.

  The seed determines the music; the sample rate in Hz changes only its sound. Songs of
  the same `form` have tempo, meter, key and chords in common.
  """
  # Two generators, since the amount of noise drawn depends on the sample rate.
  seeds = np.random.SeedSequence(seed).spawn(2)
  decide, noise = (np.random.default_rng(child) for child in seeds)
  length = round(seconds * rate)
  stems = {stem: np.zeros((2, length), np.float32) for stem in MIX}
  echo = room(noise, length, rate, decay=decide.uniform(0.3, 1.8))
  shared = None if form is None else np.random.default_rng(form)
  for part in compose(decide, seconds, band, shared):
    level, width, most_wet = MIX[part.stem]
    timbre = Timbre(rate, part.lowest, noise, *decide.random(4).tolist())
    effects = draw_effects(decide, part.stem)
    dry = effects(player(part, timbre, length), rate)
    sound = pan(dry, decide.uniform(-width, width))
    sound += decide.uniform(0, most_wet) * echo(sound)
    loud = sound[np.abs(sound) >= 0.02 * np.abs(sound).max()]
    decibels = level + decide.uniform(-LEVEL_DB, LEVEL_DB)
    sound *= 10 ** (decibels / 20) / (float(np.sqrt(np.mean(loud**2))) or 1)
    stems[part.stem] += sound
  mixture = np.sum(list(stems.values()), axis=0)
  peak = max(np.abs(sound).max() for sound in (mixture, *stems.values()))
  scale = PEAK * PCM_SCALE / peak
  return {stem: np.round(sound * scale) / PCM_SCALE for stem, sound in stems.items()}


def play(part: Part, instrument: Instrument, timbre: Timbre, length: int) -> np.ndarray:
  """Return what an instrument plays [2, L]; equal notes sound alike."""
  sounds: dict[tuple[int, float, str], np.ndarray] = {}
  track = np.zeros((2, length), np.float32)
  for note in part.notes:
    kind = (note.pitch, note.seconds, note.sound)
    if kind not in sounds:
      sounds[kind] = instrument(note, timbre).astype(np.float32)
    rest = track[:, int(note.start * timbre.rate) :]
    sound = sounds[kind][..., : rest.shape[1]]
    rest[:, : sound.shape[-1]] += note.velocity * sound
  return track
