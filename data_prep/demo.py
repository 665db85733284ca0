"""Makes a small set of synthetic songs, in seconds and without any download.

    python -m data_prep.demo --out=runs/demo/music --seed=0

Songs with stems lie in train/, valid/ and test/ as in MUSDB18-HQ: a folder per song
with vocals.wav, drums.wav, bass.wav, other.wav and mixture.wav, their exact sum. More
songs lie in unlabelled/ as mixes only, most as FLAC and some as MP3. Songs differ in
key, tempo, chords, form, instruments, voices and rooms; no two folders share a song.
The seed and the flags decide on every sample.
"""

import argparse
import time
from pathlib import Path

from data_prep.command import (
  add_workers_flag,
  natural,
  positive_float,
  positive_int,
  run_command,
)
from data_prep.preparation import Job, claim_folder, run_jobs
from data_prep.synthetic.files import MixFile, SongFiles
from mixit_jax.errors import UserError

SPLITS = ("train", "valid", "test")
UNLABELLED = "unlabelled"
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)

_FLAGS_THAT_DECIDE = (
  "seed",
  "sample_rate",
  "train_songs",
  "valid_songs",
  "test_songs",
  "song_seconds",
  "mixes",
  "mp3_mixes",
  "mix_seconds",
)
_MAX_DEATHS = 3


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Reads the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.demo",
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
  flag("--mixes", type=natural, default=90, help="songs without stems (%(default)s)")
  flag("--mp3-mixes", type=natural, default=4, help="of these, as MP3 (%(default)s)")
  flag("--mix-seconds", type=positive_float, default=20.0, help="their length (20)")
  add_workers_flag(parser)
  flags = parser.parse_args(arguments)
  if flags.mp3_mixes > flags.mixes:
    parser.error(f"--mp3-mixes: {flags.mp3_mixes} of {flags.mixes} mixes cannot be MP3")
  if flags.mp3_mixes and flags.sample_rate not in MP3_RATES:
    parser.error(f"--sample-rate: for MP3 one of {MP3_RATES}, or use --mp3-mixes=0")
  return flags


def main(arguments: list[str] | None = None) -> None:
  """Makes the songs.

  Raises:
    UserError: if the output folder was made in another way, or there is nothing to do.
  """
  began = time.monotonic()
  flags = parse_flags(arguments)
  counts = (flags.train_songs, flags.valid_songs, flags.test_songs)
  jobs: list[Job] = []
  for split, (name, count) in enumerate(zip(SPLITS, counts, strict=True)):
    jobs += [
      SongFiles(
        flags.out / name / f"song-{number + 1:02d}",
        (flags.seed, split, number),
        flags.song_seconds,
        flags.sample_rate,
      )
      for number in range(count)
    ]
  for number in range(flags.mixes):
    suffix = "mp3" if number < flags.mp3_mixes else "flac"
    jobs.append(
      MixFile(
        flags.out / UNLABELLED / f"mix-{number + 1:03d}.{suffix}",
        (flags.seed, len(SPLITS), number),
        flags.mix_seconds,
        flags.sample_rate,
      )
    )
  if not jobs:
    raise UserError("no song asked for: give --train-songs, --mixes, ...")
  settings = {name: getattr(flags, name) for name in _FLAGS_THAT_DECIDE}
  claim_folder(flags.out, "data_prep.demo", settings)
  finished = run_jobs(jobs, flags.workers, "songs", _MAX_DEATHS)
  songs = ", ".join(f"{n} {name}" for name, n in zip(SPLITS, counts, strict=True))
  print(
    f"{flags.out}: {songs} songs of {flags.song_seconds:g} s, {flags.mixes} unlabelled"
    f" mixes of {flags.mix_seconds:g} s at {flags.sample_rate} Hz, in"
    f" {time.monotonic() - began:.1f} s"
    + (f" ({finished} were there before)" if finished else "")
  )


if __name__ == "__main__":
  run_command(main)
