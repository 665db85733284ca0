"""Make a small set of synthetic songs, in seconds and without any download.

    python -m data_prep.synthetic --out=runs/demo/music --seed=0

Songs with stems lie in train/, valid/ and test/ as in MUSDB18-HQ: a folder per song
with vocals.wav, drums.wav, bass.wav, other.wav and mixture.wav, their exact sum. More
songs lie in unlabeled/ as mixes only, most as FLAC and some as MP3. The test songs are
played on instruments that no other song has. Seed and flags determine every sample.
"""

import argparse
import sys
from pathlib import Path

from data_prep import command
from data_prep.command import natural, positive_float, positive_int
from data_prep.preparation import claim_folder, run_jobs
from data_prep.synthetic.songs import Song
from mixit_jax.console import expand_home, run_command
from mixit_jax.errors import UserError

SPLITS = ("train", "valid", "test")
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.synthetic",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  flag = parser.add_argument
  flag("--out", type=Path, required=True, help="folder of the result")
  flag("--seed", type=natural, default=0, help="(%(default)s)")
  flag("--sample-rate", type=positive_int, default=16000, help="in Hz (%(default)s)")
  flag("--train-songs", type=natural, default=12, help="songs with stems (%(default)s)")
  flag("--valid-songs", type=natural, default=3, help="the same (%(default)s)")
  flag("--test-songs", type=natural, default=3, help="the same (%(default)s)")
  flag("--song-seconds", type=positive_float, default=28.0, help="their length (28)")
  flag(
    "--test-instruments",
    choices=("unheard", "heard"),
    default="unheard",
    help="of the test songs: others than in all other songs, or the same (%(default)s)",
  )
  flag("--mixes", type=natural, default=90, help="songs without stems (%(default)s)")
  flag("--mp3-mixes", type=natural, default=4, help="of these, as MP3 (%(default)s)")
  flag("--mix-seconds", type=positive_float, default=20.0, help="their length (20)")
  command.add_workers_flag(parser)
  flags = parser.parse_args(expand_home(arguments))
  if flags.mp3_mixes > flags.mixes:
    parser.error(f"--mp3-mixes: {flags.mp3_mixes} of {flags.mixes} mixes cannot be MP3")
  if flags.mp3_mixes and flags.sample_rate not in MP3_RATES:
    parser.error(f"--sample-rate: for MP3 one of {MP3_RATES}, or use --mp3-mixes=0")
  return flags


def list_songs(flags: argparse.Namespace) -> list[Song]:
  """Return the songs to make."""
  seed, rate = flags.seed, flags.sample_rate
  songs = []
  for split, name in enumerate(SPLITS):
    for number in range(getattr(flags, f"{name}_songs")):
      path = flags.out / name / f"song-{number + 1:02d}"
      band = flags.test_instruments if name == "test" else "heard"
      songs.append(Song(path, (seed, split, number), flags.song_seconds, rate, band))
  for number in range(flags.mixes):
    suffix = "mp3" if number < flags.mp3_mixes else "flac"
    path = flags.out / "unlabeled" / f"mix-{number + 1:03d}.{suffix}"
    songs.append(Song(path, (seed, len(SPLITS), number), flags.mix_seconds, rate))
  return songs


def main(arguments: list[str] | None = None) -> None:
  """Make the songs; a UserError says why it cannot be done."""
  flags = parse_flags(arguments)
  songs = list_songs(flags)
  if not songs:
    raise UserError("no song requested; set --train-songs, --mixes, ...")
  settings = {k: v for k, v in vars(flags).items() if k not in ("out", "workers")}
  claim_folder(flags.out, "data_prep.synthetic", settings)
  finished = run_jobs(flags.out, songs, flags.workers, "songs", max_crashes=3)
  before = f" ({finished} already existed)" if finished else ""
  print(f"{flags.out}: {len(songs)} songs{before}")


if __name__ == "__main__":
  sys.exit(run_command(main, command.INTERRUPTED))
