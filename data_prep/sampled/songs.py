"""Songs on sampled instruments."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.sampled.arrangement import BAND, write_midi
from data_prep.sampled.fluidsynth import render_midi
from data_prep.synthetic.composition import Part
from data_prep.synthetic.instruments import Timbre
from data_prep.synthetic.songs import BaseSong, perform
from mixit_jax.audio.files import read_audio
from mixit_jax.errors import UserError


@dataclass(frozen=True)
class SampledSong(BaseSong):
  """A song whose parts are rendered with a sound font."""

  font: Path

  def stems(self) -> dict[str, np.ndarray]:
    """Return the stems [2, L] of the song."""
    band = {stem: BAND[stem] for stem in self.playing}
    return perform(self.seed, self.seconds, self.sample_rate, band, self.play)

  def play(self, part: Part, timbre: Timbre, length: int) -> np.ndarray:
    """Return what one part sounds like [2, length].

    Raises:
      UserError: FluidSynth fails, or the font has no such instrument.
    """
    with tempfile.TemporaryDirectory() as folder:
      midi, sound = Path(folder) / "part.mid", Path(folder) / "part.wav"
      write_midi(midi, part, timbre, length / timbre.rate)
      render_midi(midi, self.font, sound)
      audio = read_audio(sound, timbre.rate)[:, :length]
    if part.notes and not audio.any():
      raise UserError(f"{self.font}: is silent for {part.stem}, {part.instrument}")
    return np.pad(audio, ((0, 0), (0, length - audio.shape[1])))
