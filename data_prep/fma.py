"""Turn FMA, or any folder of music, into shards of segments for pre-training.

    python -m data_prep.fma --audio=fma_large --metadata=fma_metadata --out=data/fma
    python -m data_prep.fma --audio=my_music --out=data/my_music

Paper, section 4.1: 10-s segments every 5 s; a segment with more than 5 silent seconds
is dropped. With --metadata the split is that of FMA, and files that are mono or below
the sample rate are left out, as in the paper. Without, the split follows from a hash
of the paths, and mono files and all sample rates are accepted; --accept changes this.

A broken file never stops the preparation: manifest.json lists what was left out, and
why. After an interruption the same command resumes the preparation.
"""

import argparse
import sys
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
from data_prep.fma_metadata import SUBSETS, read_tracks
from data_prep.preparation import claim_folder, fingerprint, run_jobs
from data_prep.segments import NUM_CHANNELS, Cut, MusicShard
from data_prep.shards import collect, place_tracks, printable, tracks_per_shard
from data_prep.splits import Splits, split_by_hash, split_by_metadata
from mixit_jax.audio.files import find_audio
from mixit_jax.console import expand_home, run_command
from mixit_jax.data.manifest import Manifest, SkippedFile
from mixit_jax.errors import UserError

SOURCE = "mixture"
VALID_SHARE = 0.05


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.fma",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  flag = parser.add_argument
  flag("--audio", type=Path, required=True, help="folder of music, such as fma_large")
  flag("--metadata", type=Path, help="folder fma_metadata; omit it for other music")
  flag("--out", type=Path, required=True, help="folder of the result")
  flag("--subset", choices=SUBSETS, help="subset of FMA to take (default: full, all)")
  flag(
    "--accept",
    choices=("paper", "any"),
    help="paper: only stereo files at --sample-rate or more, the default with"
    " --metadata; any: mono files too (both channels equal) and any rate, the default"
    " without",
  )
  flag("--sample-rate", type=positive_int, default=44100, help="in Hz (%(default)s)")
  flag("--seconds", type=positive_float, default=10.0, help="length of a segment (10)")
  flag("--hop", type=positive_float, default=5.0, help="seconds between starts (5)")
  flag("--codec", choices=("flac", "wav"), default="flac", help="(%(default)s)")
  flag(
    "--valid-share",
    type=share,
    help=f"share of the tracks for validation, without --metadata ({VALID_SHARE:g});"
    " above 0 it is one track at least, and two from 8 tracks on",
  )
  flag("--test-share", type=share, help="the same for test (0)")
  flag(
    "--tracks-per-shard",
    type=positive_int,
    help="(default: a 16th of the tracks, 100 at most)",
  )
  add_workers_flag(parser)
  flags = parser.parse_args(expand_home(arguments))
  if flags.metadata and (flags.valid_share is not None or flags.test_share is not None):
    parser.error("--valid-share and --test-share: with --metadata FMA's split is used")
  if flags.subset and not flags.metadata:
    parser.error("--subset: needs --metadata")
  if (flags.valid_share or 0) + (flags.test_share or 0) >= 1:
    parser.error("--valid-share and --test-share: nothing would be left for training")
  return flags


def main(arguments: list[str] | None = None) -> None:
  """Prepare a folder of music.

  Raises:
    UserError: there is no music, none of it can be used, or the output folder was made
      in another way.
  """
  flags = parse_flags(arguments)
  found = [path.relative_to(flags.audio).as_posix() for path in find_audio(flags.audio)]
  splits, unknown = _split(flags, found)
  tracks = [track for split in splits.values() for track in split]
  per_shard = flags.tracks_per_shard or tracks_per_shard(len(tracks))
  strict = (flags.accept or ("paper" if flags.metadata else "any")) == "paper"
  cut = Cut(flags.sample_rate, flags.seconds, flags.hop, flags.codec)
  claim_folder(flags.out, "data_prep.fma", _settings(flags, splits, per_shard, strict))
  jobs = [
    MusicShard(place, flags.audio, members, cut, strict)
    for split in splits
    for place, members in place_tracks(
      flags.out, SOURCE, split, splits[split], per_shard
    )
  ]
  finished = run_jobs(flags.out, jobs, flags.workers, "shards", MAX_CRASHES * per_shard)
  if finished:
    print(f"{flags.out}: {finished} of {len(jobs)} shards were already finished")
  shards, skipped = collect(job.place for job in jobs)
  skipped += [
    SkippedFile(file=printable(track), reason="is not in tracks.csv")
    for track in unknown
  ]
  if not shards:
    raise UserError(
      f"{flags.audio}: yields no segment; all {len(skipped)} files were left out, such"
      f" as {skipped[0]['file']}: {skipped[0]['reason']}"
    )
  manifest = Manifest(
    kind="fma",
    sample_rate=cut.sample_rate,
    seconds=cut.seconds,
    hop_seconds=cut.hop,
    num_channels=NUM_CHANNELS,
    codec=cut.codec,
    splits=shards,
    skipped=skipped,
  )
  manifest.save(flags.out)
  _summarize(flags.out, manifest, len(tracks) + len(unknown))
  _warn(manifest, splits, flags.valid_share)


def _split(flags: argparse.Namespace, found: list[str]) -> tuple[Splits, list[str]]:
  """Return the tracks by split, and the files that the metadata does not know."""
  if not flags.metadata:
    valid = VALID_SHARE if flags.valid_share is None else flags.valid_share
    return split_by_hash(found, valid, flags.test_share or 0.0), []
  subset = flags.subset or SUBSETS[-1]
  splits, unknown = split_by_metadata(found, read_tracks(flags.metadata), subset)
  if not splits:
    raise UserError(
      f"{flags.audio}: none of its {len(found)} audio files is a track of the subset"
      f" {subset!r} in {flags.metadata}; expected names such as 000/000002.mp3"
    )
  return splits, unknown


def _settings(
  flags: argparse.Namespace, splits: Splits, per_shard: int, strict: bool
) -> dict[str, Any]:
  """Return all settings that determine the shards."""
  return {
    "sample_rate": flags.sample_rate,
    "seconds": flags.seconds,
    "hop": flags.hop,
    "codec": flags.codec,
    "accept": "paper" if strict else "any",
    "tracks_per_shard": per_shard,
    "tracks": {split: len(tracks) for split, tracks in splits.items()},
    "track_list": fingerprint(
      f"{split} {track}" for split, tracks in splits.items() for track in tracks
    ),
  }


def _summarize(out: Path, manifest: Manifest, num_files: int) -> None:
  """Say in one line what was made."""
  counts = {
    split: sum(entry["records"] for entry in sources[SOURCE])
    for split, sources in manifest.splits.items()
  }
  listed = ", ".join(f"{split} {count}" for split, count in counts.items())
  print(
    f"{out}: {sum(counts.values())} segments of {manifest.seconds:g} s ({listed});"
    f" {len(manifest.skipped)} of {num_files} files left out"
    + (f", see {out / 'manifest.json'}" if manifest.skipped else "")
  )


def _warn(manifest: Manifest, splits: Splits, valid_share: float | None) -> None:
  """Warn if no segment is left for training or for validation."""
  for split, use in (("train", "for training"), ("valid", "for validation")):
    if split in manifest.splits or (split == "valid" and valid_share == 0):
      continue
    reason = (
      f"its {len(splits[split])} track(s) yield none"
      if split in splits
      else "no track is left for it"
    )
    print(f"warning: no segment {use}: {reason}", file=sys.stderr)


if __name__ == "__main__":
  sys.exit(run_command(main, INTERRUPTED))
