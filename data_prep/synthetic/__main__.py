"""Make a small set of synthetic songs, in seconds and without any download.

    python -m data_prep.synthetic --out=runs/demo/music --seed=0

Songs with stems lie in train/, valid/ and test/ as in MUSDB18-HQ: a folder per song
with vocals.wav, drums.wav, bass.wav, other.wav and mixture.wav, their exact sum. More
songs lie in unlabeled/ as mixes only, most as FLAC and some as MP3. The test songs are
played on instruments that no other song has. Seed and flags determine every sample.
"""

import argparse
import sys

from data_prep import song_sets
from data_prep.command import INTERRUPTED
from data_prep.synthetic.songs import Song
from mixit_jax.console import expand_home, run_command


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.synthetic",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  song_sets.add_flags(parser)
  parser.add_argument(
    "--test-instruments",
    choices=("unheard", "heard", "both"),
    default="unheard",
    help="of the test songs: others than in all other songs, the same, or both in turn,"
    " said by the names of the songs (%(default)s)",
  )
  flags = parser.parse_args(expand_home(arguments))
  song_sets.check_flags(parser, flags)
  return flags


def main(arguments: list[str] | None = None) -> None:
  """Make the songs; a UserError says why it cannot be done."""
  flags = parse_flags(arguments)
  songs = []
  both = ("unheard", "heard")
  bands = both if flags.test_instruments == "both" else (flags.test_instruments,)
  for place in song_sets.places(flags, test_groups=bands):
    band = place.group or "heard"
    settings = (place.seed, place.seconds, flags.sample_rate, place.ensemble)
    songs.append(Song(place.path, *settings, band))
  song_sets.make(flags, "data_prep.synthetic", songs)


if __name__ == "__main__":
  sys.exit(run_command(main, INTERRUPTED))
