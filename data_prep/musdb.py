"""Turn MUSDB18-HQ, or songs laid out like it, into shards of segments per stem.

    python -m data_prep.musdb --musdb=musdb18hq --out=data/musdb

The input has a folder train/ with one folder per song, which holds vocals, drums,
bass and other as audio files. The segments of the training songs in which a stem
sounds become records (paper, section 4.1: 8-s segments every 4 s). The validation
songs stay whole: their files are copied without loss to <out>/valid. They are the
songs of a folder valid/ of the input, else those that --valid-songs names, else those
of the usual 14 that are present. Test songs stay where they are.

A broken file never stops the preparation: manifest.json lists what was left out, and
why. After an interruption the same command resumes the preparation.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.command import (
  INTERRUPTED,
  add_workers_flag,
  positive_float,
  positive_int,
)
from data_prep.crashes import MAX_CRASHES
from data_prep.preparation import Job, claim_folder, fingerprint, run_jobs
from data_prep.segments import NUM_CHANNELS, SILENT_STEM, Cut, StemShard
from data_prep.shards import collect, place_tracks, tracks_per_shard
from data_prep.song_copies import SongCopy
from mixit_jax.audio.files import AUDIO_SUFFIXES
from mixit_jax.console import expand_home, run_command
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.songs import find_songs
from mixit_jax.errors import UserError
from mixit_jax.stems import MIXTURE, STEMS

# The validation songs of the paper, section 4.1, and of most others.
VALID_SONGS = (
  "Actions - One Minute Smile",
  "Clara Berry And Wooldog - Waltz For My Victims",
  "Johnny Lokke - Promises & Lies",
  "Patrick Talbot - A Reason To Leave",
  "Triviul - Angelsaint",
  "Alexander Ross - Goodbye Bolero",
  "Fergessen - Nos Palpitants",
  "Leaf - Summerghost",
  "Skelpolu - Human Mistakes",
  "Young Griffo - Pennies",
  "ANiMAL - Rockshow",
  "James May - On The Line",
  "Meaxic - Take A Step",
  "Traffic Experiment - Sirens",
)


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.musdb",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  flag = parser.add_argument
  flag(
    "--musdb", type=Path, required=True, help="folder with train/, such as musdb18hq"
  )
  flag("--out", type=Path, required=True, help="folder of the result")
  flag(
    "--valid-songs",
    action="append",
    default=[],
    help="songs of train/ for validation, separated by commas; repeat the flag for"
    " names with a comma",
  )
  flag("--sample-rate", type=positive_int, default=44100, help="in Hz (%(default)s)")
  flag("--seconds", type=positive_float, default=8.0, help="length of a segment (8)")
  flag("--hop", type=positive_float, default=4.0, help="seconds between starts (4)")
  flag("--codec", choices=("flac", "wav"), default="flac", help="(%(default)s)")
  flag("--songs-per-shard", type=positive_int, help="(default: a 16th of the songs)")
  add_workers_flag(parser)
  return parser.parse_args(expand_home(arguments))


def main(arguments: list[str] | None = None) -> None:
  """Prepare labeled songs.

  Raises:
    UserError: there is no song, a song lacks a stem, a stem sounds in no training
      song, or the output folder was made in another way.
  """
  flags = parse_flags(arguments)
  train, valid = _split(flags.musdb, flags.valid_songs)
  per_shard = flags.songs_per_shard or tracks_per_shard(len(train))
  cut = Cut(flags.sample_rate, flags.seconds, flags.hop, flags.codec)
  claim_folder(flags.out, "data_prep.musdb", _settings(flags, train, valid, per_shard))
  shards = [
    StemShard(place, flags.musdb, files, cut)
    for stem in STEMS
    for place, files in place_tracks(
      flags.out,
      stem,
      "train",
      [_file_of(song, stem).relative_to(flags.musdb).as_posix() for song in train],
      per_shard,
    )
  ]
  copies = [
    SongCopy(
      song,
      flags.out / "valid" / song.name,
      tuple(file.name for file in _files(song)),
      flags.sample_rate,
    )
    for song in valid
  ]
  jobs: list[Job] = [*shards, *copies]
  finished = run_jobs(
    flags.out, jobs, flags.workers, "shards and songs", MAX_CRASHES * per_shard
  )
  if finished:
    print(f"{flags.out}: {finished} of {len(jobs)} parts were already finished")
  splits, skipped = collect(shard.place for shard in shards)
  skipped += [file for copy in copies for file in copy.skipped()]
  if mute := [stem for stem in STEMS if stem not in splits.get("train", {})]:
    reasons = [s["reason"] for s in skipped if Path(s["file"]).stem.lower() == mute[0]]
    raise UserError(
      f"{flags.musdb / 'train'}: no song yields a segment of {', '.join(mute)}, which"
      f" training needs ({'; '.join(sorted(set(reasons)))})"
    )
  manifest = Manifest(
    kind="musdb",
    sample_rate=cut.sample_rate,
    seconds=cut.seconds,
    hop_seconds=cut.hop,
    num_channels=NUM_CHANNELS,
    codec=cut.codec,
    splits=splits,
    songs={"valid": [f"valid/{c.source.name}" for c in copies if c.is_finished()]},
    skipped=skipped,
  )
  manifest.save(flags.out)
  _summarize(flags.out, manifest, len(train))


def _split(musdb: Path, named: Sequence[str]) -> tuple[list[Path], list[Path]]:
  """Return the folders of the songs for training and for validation."""
  if not (musdb / "train").is_dir():
    raise UserError(
      f"{musdb}: has no folder train; --musdb expects the folder that holds train/"
    )
  songs = _songs_in(musdb / "train")
  if (musdb / "valid").is_dir():
    if named:
      raise UserError(
        f"{musdb / 'valid'}: holds the validation songs; omit --valid-songs, or move"
        " this folder away"
      )
    return songs, _songs_in(musdb / "valid")
  names = {song.name for song in songs}
  chosen = _named_songs(named, names) if named else names & set(VALID_SONGS)
  train = [song for song in songs if song.name not in chosen]
  if not train:
    raise UserError(f"--valid-songs: leaves no song of {musdb / 'train'} for training")
  return train, [song for song in songs if song.name in chosen]


def _songs_in(folder: Path) -> list[Path]:
  songs = find_songs(folder)
  if folder in songs:
    raise UserError(f"{folder}: holds stems itself; expected one folder per song")
  return songs


def _named_songs(values: Sequence[str], names: set[str]) -> set[str]:
  """Return the songs that --valid-songs names; a value may be a name with a comma."""
  chosen = set()
  for value in values:
    for name in [value] if value in names else value.split(","):
      name = name.strip()
      if name not in names:
        near = difflib.get_close_matches(name, sorted(names), 1, 0.0)
        raise UserError(
          f"--valid-songs: no song {name!r} in train/; did you mean {near[0]!r}?"
        )
      chosen.add(name)
  return chosen


def _files(song: Path) -> list[Path]:
  """List the stems of a song, and its mixture if it has one."""
  return sorted(
    path
    for path in song.iterdir()
    if path.suffix.lower() in AUDIO_SUFFIXES and path.stem.lower() in (*STEMS, MIXTURE)
  )


def _file_of(song: Path, stem: str) -> Path:
  return next(path for path in _files(song) if path.stem.lower() == stem)


def _settings(
  flags: argparse.Namespace, train: list[Path], valid: list[Path], per_shard: int
) -> dict[str, Any]:
  """Return all settings that determine the result."""
  return {
    "sample_rate": flags.sample_rate,
    "seconds": flags.seconds,
    "hop": flags.hop,
    "codec": flags.codec,
    "songs_per_shard": per_shard,
    "train_songs": len(train),
    "valid_songs": len(valid),
    "song_list": fingerprint([f"train {song.name}" for song in train])
    + fingerprint([f"valid {song.name}" for song in valid]),
  }


def _summarize(out: Path, manifest: Manifest, num_songs: int) -> None:
  """Say in a few lines what was made, and warn where something is missing."""
  counts = ", ".join(
    f"{stem} {sum(entry['records'] for entry in entries)}"
    for stem, entries in manifest.splits["train"].items()
  )
  valid = manifest.songs["valid"]
  silent = sum(file["reason"] == SILENT_STEM for file in manifest.skipped)
  broken = len(manifest.skipped) - silent
  print(
    f"{out}: segments of {manifest.seconds:g} s of {num_songs} training songs:"
    f" {counts}; {len(valid)} validation songs; left out: {silent} silent stems,"
    f" {broken} broken files"
    + (f", see {out / 'manifest.json'}" if manifest.skipped else "")
  )
  if not valid:
    print(
      "warning: there are no validation songs to choose channels and checkpoints with:"
      " name some of train/ with --valid-songs=<song>,<song> and a new --out, or move"
      " some from train/ to valid/",
      file=sys.stderr,
    )


if __name__ == "__main__":
  sys.exit(run_command(main, INTERRUPTED))
