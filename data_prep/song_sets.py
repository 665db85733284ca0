"""What the commands that make songs share: flags, places, and how a set is made.

Songs with stems lie in train/, valid/ and test/ as in MUSDB18-HQ, mixes in unlabeled/.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.command import add_workers_flag, natural, positive_float, positive_int
from data_prep.preparation import Job, claim_folder, run_jobs
from mixit_jax.errors import UserError

SPLITS = ("train", "valid", "test")
UNLABELED = "unlabeled"
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class Place:
  """Where a song belongs, and what determines it."""

  path: Path  # with a suffix: a file of the mix in that format
  split: str
  seed: tuple[int, ...]
  seconds: float
  ensemble: str = "full"
  group: str = ""  # of a test song


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Add the flags of a set of songs."""
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
  flag(
    "--mix-ensembles",
    choices=("any", "full"),
    default="any",
    help="stems of a mix: any of them, from a single one to all, as in music of many "
    "kinds, or all, as in the songs (%(default)s)",
  )
  add_workers_flag(parser)


def check_flags(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
  """End the program where flags do not agree."""
  if flags.mp3_mixes > flags.mixes:
    parser.error(f"--mp3-mixes: {flags.mp3_mixes} of {flags.mixes} mixes cannot be MP3")
  if flags.mp3_mixes and flags.sample_rate not in MP3_RATES:
    parser.error(f"--sample-rate: for MP3 one of {MP3_RATES}, or use --mp3-mixes=0")


def places(
  flags: argparse.Namespace, test_groups: Sequence[str] = ("",)
) -> Iterator[Place]:
  """Yield the places of all songs of the set.

  Args:
    flags: of the command line.
    test_groups: what test songs belong to in turn; named after it if there are several.
  """
  for split, name in enumerate(SPLITS):
    groups = test_groups if name == "test" else ("",)
    for number in range(getattr(flags, f"{name}_songs")):
      turn, place = divmod(number, len(groups))
      group = groups[place]
      song = f"{group}-{turn + 1:02d}" if len(groups) > 1 else f"song-{number + 1:02d}"
      seed = (flags.seed, split, number)
      yield Place(flags.out / name / song, name, seed, flags.song_seconds, group=group)
  for number in range(flags.mixes):
    suffix = "mp3" if number < flags.mp3_mixes else "flac"
    path = flags.out / UNLABELED / f"mix-{number + 1:03d}.{suffix}"
    seed = (flags.seed, len(SPLITS), number)
    yield Place(path, UNLABELED, seed, flags.mix_seconds, flags.mix_ensembles)


def make(
  flags: argparse.Namespace, command: str, songs: Sequence[Job], **sources: object
) -> None:
  """Make the songs that are not there yet, and say so in a line.

  Args:
    flags: of the command line.
    command: name of the command.
    songs: the songs.
    sources: what determines them besides the flags, as JSON values.

  Raises:
    UserError: there is no song, or the folder was made in another way.
  """
  if not songs:
    raise UserError("no song requested; set --train-songs, --mixes, ...")
  settings = {k: v for k, v in vars(flags).items() if k not in ("out", "workers")}
  claim_folder(flags.out, command, {**settings, **sources})
  finished = run_jobs(flags.out, songs, flags.workers, "songs", max_crashes=3)
  before = f" ({finished} already existed)" if finished else ""
  print(f"{flags.out}: {len(songs)} songs{before}")
