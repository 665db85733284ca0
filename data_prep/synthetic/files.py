"""Synthetic songs as files: one job per song, which any engine can run."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.synthetic.rendering import render_song
from mixit_jax.audio.files import write_audio

_PCM_SCALE = 32768  # of samples in 16-bit files


@dataclass(frozen=True)
class SongFiles:
  """A song as a folder of stems and their mixture, 16-bit WAV as in MUSDB18-HQ.

  Attributes:
    folder: the folder, which appears when it is complete.
    seed: numbers that name the song.
    seconds: its length.
    sample_rate: in Hz.
  """

  folder: Path
  seed: tuple[int, ...]
  seconds: float
  sample_rate: int

  def is_finished(self) -> bool:
    """Whether the song is there."""
    return self.folder.is_dir()

  def run(self) -> None:
    """Renders and writes the song. The mixture is exactly the sum of the stems."""
    unfinished = self.folder.with_name(f".{self.folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    stems = render_song(self.seed, self.seconds, self.sample_rate)
    pcm = {stem: np.round(sound * _PCM_SCALE) for stem, sound in stems.items()}
    pcm["mixture"] = np.sum(list(pcm.values()), axis=0)
    for name, samples in pcm.items():
      audio = (samples / _PCM_SCALE).astype(np.float32)
      write_audio(unfinished / f"{name}.wav", audio, self.sample_rate, "PCM_16")
    unfinished.replace(self.folder)


@dataclass(frozen=True)
class MixFile:
  """An unlabeled mix as one file.

  Attributes:
    path: the file; its suffix decides on the format.
    seed: numbers that name the song.
    seconds: its length.
    sample_rate: in Hz.
  """

  path: Path
  seed: tuple[int, ...]
  seconds: float
  sample_rate: int

  def is_finished(self) -> bool:
    """Whether the file is there."""
    return self.path.is_file()

  def run(self) -> None:
    """Renders and writes the mix."""
    stems = render_song(self.seed, self.seconds, self.sample_rate)
    mixture = np.sum(list(stems.values()), axis=0)
    subtype = "PCM_16" if self.path.suffix == ".flac" else None
    write_audio(self.path, mixture, self.sample_rate, subtype)
