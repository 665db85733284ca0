"""Make a set of songs on sampled instruments: MIDI, rendered by FluidSynth.

    apt install fluidsynth fluid-soundfont-gm timgm6mb-soundfont
    python -m data_prep.sampled --out=data/sampled --seed=0

Scores and layout are those of data_prep.synthetic: songs with stems in train/, valid/
and test/ as in MUSDB18-HQ, mixes in unlabeled/. Each part plays one of the programs of
General MIDI alone, so that stems are exact. The test songs are played with another
sound font than all other songs. Seed, flags, sound fonts and the version of FluidSynth
determine every sample.
"""

import argparse
import sys
from pathlib import Path

from data_prep import song_sets
from data_prep.command import INTERRUPTED
from data_prep.sampled.fluidsynth import check_installed
from data_prep.sampled.fonts import TEST_FONTS, TRAINING_FONTS, find_fonts
from data_prep.sampled.songs import SampledSong
from mixit_jax.console import expand_home, run_command
from mixit_jax.errors import UserError
from mixit_jax.files import sha256


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.sampled",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  song_sets.add_flags(parser)
  for name, fonts, songs in (
    ("--fonts", TRAINING_FONTS, "of all songs but those of test/, in turn"),
    ("--test-fonts", TEST_FONTS, "of the songs of test/, in turn, said by their names"),
  ):
    parser.add_argument(
      name,
      default=",".join(fonts),
      help=f"sound fonts {songs}: files, or names in /usr/share/sounds, separated by"
      " commas (%(default)s)",
    )
  flags = parser.parse_args(expand_home(arguments))
  song_sets.check_flags(parser, flags)
  return flags


def main(arguments: list[str] | None = None) -> None:
  """Make the songs; a UserError says why it cannot be done."""
  flags = parse_flags(arguments)
  check_installed()
  fonts = find_fonts("--fonts", flags.fonts)
  test_fonts = find_fonts("--test-fonts", flags.test_fonts)
  songs = []
  named = {font.stem: font for font in test_fonts}
  if len(named) < len(test_fonts):
    raise UserError(f"--test-fonts={flags.test_fonts}: two have the same name")
  for place in song_sets.places(flags, test_groups=tuple(named)):
    font = named.get(place.group) or fonts[place.seed[-1] % len(fonts)]
    settings = (place.seed, place.seconds, flags.sample_rate, place.ensemble)
    songs.append(SampledSong(place.path, *settings, font))
  # The same font may lie elsewhere: what counts is what it holds.
  flags.fonts, flags.test_fonts = _contents(fonts), _contents(test_fonts)
  song_sets.make(flags, "data_prep.sampled", songs)


def _contents(fonts: list[Path]) -> dict[str, str]:
  return {font.name: sha256(font) for font in fonts}


if __name__ == "__main__":
  sys.exit(run_command(main, INTERRUPTED))
