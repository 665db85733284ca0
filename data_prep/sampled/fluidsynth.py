"""FluidSynth, the program that renders MIDI files with sound fonts."""

import shutil
import subprocess
from pathlib import Path

from mixit_jax.errors import UserError, missing_extra

PROGRAM = "fluidsynth"
SAMPLE_RATE = 44100  # of most sound fonts: at lower rates FluidSynth would alias
_SETTINGS = {
  "synth.sample-rate": SAMPLE_RATE,
  "synth.gain": 0.5,
  "synth.reverb.active": 0,  # songs have a room of their own
  "synth.chorus.active": 0,
  "synth.cpu-cores": 1,
  "synth.dynamic-sample-loading": 1,  # only what the part plays
  "synth.lock-memory": 0,
}


def check_installed() -> None:
  """Raise a UserError unless all that rendering needs is installed."""
  if shutil.which(PROGRAM) is None:
    raise UserError(
      f"the program {PROGRAM} is not installed: apt install fluidsynth, or see"
      " fluidsynth.org"
    )
  try:
    import mido  # noqa: F401
  except ImportError as error:
    purpose = "songs on sampled instruments"
    raise UserError(missing_extra(error, "mido", "prep", purpose)) from error


def render_midi(midi: Path, font: Path, out: Path) -> None:
  """Render a MIDI file to a WAV file of float samples in stereo.

  Raises:
    UserError: FluidSynth cannot do it.
  """
  settings = [f"--option={key}={value}" for key, value in _SETTINGS.items()]
  result = subprocess.run(
    [
      PROGRAM,
      *("--quiet", "--no-shell", "--no-midi-in", *settings),
      *("--audio-file-type=wav", "--audio-file-format=float"),
      f"--fast-render={out}",
      str(font),
      str(midi),
    ],
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    errors="replace",
    check=False,
  )
  # It ends with 0 even where it could not load a font.
  if result.returncode or "Failed to load SoundFont" in result.stderr:
    raise UserError(
      f"{font}: {PROGRAM} cannot play it: {' '.join(result.stderr.split())}"
    )
