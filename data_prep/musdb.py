"""Turn MUSDB18-HQ, or songs with stems of your own, into shards of segments per stem.

    python -m data_prep.musdb --musdb=musdb18hq --out=data/musdb
    python -m data_prep.musdb --songs=multitracks --out=data/mine --stems=guitar,voice

The input has one folder per song, in train/ or directly, which holds one file per
stem in any audio format. The names of the stems are those of the files, where all
songs agree, or those of --stems. The segments of the training songs in which a stem
sounds become records (paper, section 4.1: 8-s segments every 4 s). The validation
songs stay whole: they are copied without loss to <out>/valid. They are the songs of a
folder valid/ of the input, else those that --valid-songs names, else those of MUSDB18's
usual 14 that are present, else --valid-share of all. Test songs stay where they are.

Every song is read whole first. What is odd about it is told with the figure, stands in
checks.json, and is decided by the last five flags. A broken file never stops the
preparation: manifest.json lists what was left out, and why. After an interruption the
same command resumes the preparation.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.command import (
  INTERRUPTED,
  add_workers_flag,
  positive_float,
  positive_int,
  share,
)
from data_prep.crashes import MAX_CRASHES
from data_prep.preparation import Job, claim_folder, fingerprint, run_jobs
from data_prep.segments import NUM_CHANNELS, SILENT_STEM, Cut, StemShard
from data_prep.shards import collect, place_tracks, tracks_per_shard
from data_prep.song_copies import SongCopy
from data_prep.song_files import (
  MEANINGS,
  Rules,
  SongFiles,
  apply_rules,
  check_names,
  find_stems,
  sort_files,
)
from data_prep.song_splits import split_songs
from data_prep.song_verdicts import Checked, check_songs, tell
from mixit_jax.console import expand_home, run_command
from mixit_jax.data.manifest import Manifest, SkippedFile
from mixit_jax.errors import UserError
from mixit_jax.stems import STEMS

VALID_SHARE = 0.1


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.musdb",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  flag = parser.add_argument
  flag(
    "--musdb",
    "--songs",
    type=Path,
    required=True,
    help="folder of the songs, or the folder that holds train/, such as musdb18hq",
  )
  flag("--out", type=Path, required=True, help="folder of the result")
  flag(
    "--stems",
    help="names of the stems in the order of the model's outputs, separated by commas"
    " (default: those of the files, where all songs agree)",
  )
  flag(
    "--valid-songs",
    action="append",
    default=[],
    help="songs for validation, separated by commas; repeat the flag for names with a"
    " comma",
  )
  flag(
    "--valid-share",
    type=share,
    default=VALID_SHARE,
    help="share of the songs for validation where nothing names them, by a hash of"
    " their names (%(default)s)",
  )
  flag("--sample-rate", type=positive_int, default=44100, help="in Hz (%(default)s)")
  flag("--seconds", type=positive_float, default=8.0, help="length of a segment (8)")
  flag("--hop", type=positive_float, default=4.0, help="seconds between starts (4)")
  flag("--codec", choices=("flac", "wav"), default="flac", help="(%(default)s)")
  flag("--songs-per-shard", type=positive_int, help="(default: a 16th of the songs)")
  add_workers_flag(parser)
  for kind, (choices, meaning) in MEANINGS.items():
    default = getattr(Rules, kind)
    flag(f"--{kind}", choices=choices, default=default, help=f"{meaning} (%(default)s)")
  return parser.parse_args(expand_home(arguments))


def main(arguments: list[str] | None = None) -> None:
  """Prepare labeled songs.

  Raises:
    UserError: there is no song, a song is not as expected and its flag says "stop", a
      stem sounds in no training song, or the output folder was made in another way.
  """
  flags = parse_flags(arguments)
  train, valid = split_songs(flags.musdb, flags.valid_songs, flags.valid_share)
  stems = _stems(flags.stems, [*train, *valid])
  rules = Rules(**{kind: getattr(flags, kind) for kind in MEANINGS})
  files = [
    sort_files(song, song.relative_to(flags.musdb).as_posix(), stems)
    for song in (*train, *valid)
  ]
  named, skipped, said = apply_rules(files, rules)
  per_shard = flags.songs_per_shard or tracks_per_shard(len(train))
  cut = Cut(flags.sample_rate, flags.seconds, flags.hop, flags.codec)
  settings = _settings(flags, stems, rules, named, set(valid), per_shard)
  claim_folder(flags.out, "data_prep.musdb", settings)
  checked = check_songs(flags.out, named, set(valid), rules, cut, flags.workers)
  tell([*said, *checked.said], flags.out)
  skipped += checked.skipped
  left_out_songs = len(skipped)
  if not checked.train:
    raise UserError(
      f"{flags.musdb}: no song is left for training, such as {skipped[0]['file']}:"
      f" {skipped[0]['reason']}"
    )
  shards = _shards(flags, checked.train, stems, cut, per_shard)
  copies = [_copy(flags.out, song, checked, rules, cut) for song in checked.valid]
  checked.forget_former(flags.out, [shard.place for shard in shards])
  jobs: list[Job] = [*shards, *copies]
  finished = run_jobs(
    flags.out, jobs, flags.workers, "shards and songs", MAX_CRASHES * per_shard
  )
  if finished:
    print(f"{flags.out}: {finished} of {len(jobs)} parts were already finished")
  splits, left_out = collect(shard.place for shard in shards)
  skipped += [*left_out, *(file for copy in copies for file in copy.skipped())]
  if mute := [stem for stem in stems if stem not in splits.get("train", {})]:
    raise UserError(_mute_message(flags.musdb, mute, skipped))
  manifest = Manifest(
    kind="musdb" if set(stems) == set(STEMS) else "stems",
    sample_rate=cut.sample_rate,
    seconds=cut.seconds,
    hop_seconds=cut.hop,
    num_channels=NUM_CHANNELS,
    codec=cut.codec,
    splits=splits,
    songs={"valid": [f"valid/{c.target.name}" for c in copies if c.is_finished()]},
    skipped=skipped,
    stems=list(stems),
  )
  manifest.save(flags.out)
  _summarize(flags.out, manifest, len(checked.train), left_out_songs)


def _stems(given: str | None, songs: Sequence[Path]) -> tuple[str, ...]:
  """Return the names of the stems that were given, or those that all songs have."""
  if given is None:
    stems = find_stems(songs)
  else:
    stems = tuple(name.strip() for name in given.split(","))
  check_names(stems)
  return stems


def _shards(
  flags: argparse.Namespace,
  songs: Sequence[SongFiles],
  stems: Sequence[str],
  cut: Cut,
  per_shard: int,
) -> list[StemShard]:
  """Deal the training songs out to the shards of each stem."""
  shards = []
  for stem in stems:
    having = [(song, dict(song.stems)[stem]) for song in songs]
    tracks = [
      tuple(f"{song.name}/{file}" for file in files) for song, files in having if files
    ]
    shards += [
      StemShard(place, flags.musdb, files, cut)
      for place, files in place_tracks(flags.out, stem, "train", tracks, per_shard)
    ]
  return shards


def _copy(
  out: Path, song: SongFiles, checked: Checked, rules: Rules, cut: Cut
) -> SongCopy:
  report = checked.reports[song.name]
  return SongCopy(
    song,
    out / "valid" / song.folder.name,
    cut.sample_rate,
    max(report.get("seconds", {"": 0.0}).values()),
    tuple(report.get("late", {}).items()) if rules.misaligned == "align" else (),
    align=song.name in checked.misaligned,
    mixture=rules.mixture != "sum",
  )


def _settings(
  flags: argparse.Namespace,
  stems: Sequence[str],
  rules: Rules,
  songs: Sequence[SongFiles],
  valid: set[Path],
  per_shard: int,
) -> dict[str, Any]:
  """Return all settings that determine the result."""
  names: Mapping[bool, list[str]] = {False: [], True: []}
  for song in songs:
    names[song.folder in valid].append(song.folder.name)
  # Folders that were begun before there were other stems and rules stay valid.
  further = {} if set(stems) == set(STEMS) else {"stems": list(stems)}
  further |= {k: v for k, v in vars(rules).items() if v != getattr(Rules, k)}
  return {
    "sample_rate": flags.sample_rate,
    "seconds": flags.seconds,
    "hop": flags.hop,
    "codec": flags.codec,
    "songs_per_shard": per_shard,
    "train_songs": len(names[False]),
    "valid_songs": len(names[True]),
    "song_list": fingerprint([f"train {name}" for name in names[False]])
    + fingerprint([f"valid {name}" for name in names[True]]),
    **further,
  }


def _mute_message(
  folder: Path, mute: Sequence[str], skipped: Sequence[SkippedFile]
) -> str:
  reasons = {s["reason"] for s in skipped if Path(s["file"]).stem.lower() == mute[0]}
  because = f" ({'; '.join(sorted(reasons))})" if reasons else ""
  return (
    f"{folder}: no song yields a segment of {', '.join(mute)}, which training needs"
    + because
  )


def _summarize(out: Path, manifest: Manifest, num_songs: int, songs: int) -> None:
  """Say in a few lines what was made, and warn where something is missing."""
  counts = ", ".join(
    f"{stem} {sum(entry['records'] for entry in manifest.splits['train'][stem])}"
    for stem in manifest.stems
  )
  valid = manifest.songs["valid"]
  silent = sum(file["reason"] == SILENT_STEM for file in manifest.skipped)
  broken = len(manifest.skipped) - silent - songs
  print(
    f"{out}: segments of {manifest.seconds:g} s of {num_songs} training songs:"
    f" {counts}; {len(valid)} validation songs; left out: {silent} silent stems,"
    f" {broken} broken files"
    + (f", {songs} {'song' if songs == 1 else 'songs'}" if songs else "")
    + (f", see {out / 'manifest.json'}" if manifest.skipped else "")
  )
  if not valid:
    print(
      "warning: there are no validation songs to choose channels and checkpoints with:"
      " name some with --valid-songs=<song>,<song> and a new --out, or move some from"
      " train/ to valid/",
      file=sys.stderr,
    )


if __name__ == "__main__":
  sys.exit(run_command(main, INTERRUPTED))
