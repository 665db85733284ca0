"""Turn FMA, or any folder of music, into shards of segments for pre-training.

    python -m data_prep.fma --audio=fma_large --metadata=fma_metadata --out=data/fma
    python -m data_prep.fma --audio=my_music --out=data/my_music

Paper, section 4.1: 10-s segments every 5 s; a segment with more than 5 silent seconds
is dropped. With --metadata the split is that of FMA, and files that are mono or below
the sample rate are left out, as in the paper. Without, the split follows from a hash
of the paths, and mono files and all sample rates are accepted; --accept changes this.

Nothing is lost in silence: manifest.json lists every file that was left out, and why,
and every file that is used in part. After an interruption the same command resumes. On
a folder with new, changed, repaired or fewer files it prepares just those: the result
is the same, bit for bit, as that of preparing the folder at once.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from data_prep.collection import Collection, collect_any, collect_fma
from data_prep.command import (
  INTERRUPTED,
  add_workers_flag,
  positive_float,
  positive_int,
  share,
)
from data_prep.cutting import Rules
from data_prep.fma_metadata import LICENSES, SUBSETS
from data_prep.growth import grow
from data_prep.plan import Plan, deal
from data_prep.preparation import claim_folder
from data_prep.segments import NUM_CHANNELS, Cut
from mixit_jax.console import expand_home, run_command
from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import UserError
from mixit_jax.lock import FolderLock

SOURCE = "mixture"
VALID_SHARE = 0.05
# Of the layout of a prepared folder: of how tracks are dealt out to shards.
_LAYOUT = 2


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
    help="on average and at most (default: a 16th of the tracks, 100 at most)",
  )
  flag(
    "--damaged",
    choices=("use", "refuse"),
    default="use",
    help="what to do with files that are shorter than they announce, or have a hole:"
    " use them up to there, or leave them out; the manifest tells either way"
    " (%(default)s)",
  )
  flag(
    "--duplicates",
    choices=("keep", "apart", "drop"),
    default="apart",
    help="what to do with files that hold the same audio: keep all; keep those out of"
    " validation and test that are elsewhere as well; or use one of each (%(default)s)",
  )
  flag(
    "--license",
    type=_licenses,
    default=frozenset(),
    metavar="NAME,NAME",
    help=f"licenses of FMA to take, of {', '.join(LICENSES)} (all)",
  )
  flag(
    "--group-by",
    choices=("track", "folder", "album", "artist"),
    default="track",
    help="what is never in two splits; without --metadata the folder of a file stands"
    " for album and artist (%(default)s)",
  )
  flag(
    "--verify",
    action="store_true",
    help="compare the content of all files with what was prepared, not only size and"
    " time of the last change",
  )
  flag(
    "--retry-skipped",
    action="store_true",
    help="try again what was left out earlier; files that no decoder could read are"
    " tried again anyway where there is another one",
  )
  flag(
    "--scheduler",
    metavar="ADDRESS",
    help="use the workers of a Dask cluster, such as tcp://10.0.0.1:8786; all must see"
    " --audio and --out under the same paths",
  )
  add_workers_flag(parser)
  flags = parser.parse_args(expand_home(arguments))
  if flags.metadata and (flags.valid_share is not None or flags.test_share is not None):
    parser.error("--valid-share and --test-share: with --metadata FMA's split is used")
  for name in ("subset", "license"):
    if getattr(flags, name) and not flags.metadata:
      parser.error(f"--{name}: needs --metadata")
  if (flags.valid_share or 0) + (flags.test_share or 0) >= 1:
    parser.error("--valid-share and --test-share: nothing would be left for training")
  return flags


def _licenses(text: str) -> frozenset[str]:
  """Read the flag --license."""
  names = frozenset(name.strip().lower() for name in text.split(","))
  if unknown := names - frozenset(LICENSES):
    raise argparse.ArgumentTypeError(
      f"expected some of {', '.join(LICENSES)}, found {', '.join(sorted(unknown))!r}"
    )
  return names


def main(arguments: list[str] | None = None) -> None:
  """Prepare a folder of music.

  Raises:
    UserError: there is no music, none of it can be used, the output folder was made
      in another way, or another process prepares it.
  """
  flags = parse_flags(arguments)
  strict = (flags.accept or ("paper" if flags.metadata else "any")) == "paper"
  cut = Cut(flags.sample_rate, flags.seconds, flags.hop, flags.codec)
  rules = Rules(cut, strict, flags.damaged)
  if not flags.audio.is_dir():  # before --out is created
    raise UserError(f"{flags.audio}: expected a folder of audio files, found none")
  with FolderLock(flags.out):
    collection = _collect(flags)
    claim_folder(flags.out, "data_prep.fma", _settings(flags, rules))
    shards = {
      place: members
      for split, tracks in collection.tracks.items()
      for place, members in deal(
        flags.out, SOURCE, split, tracks, flags.tracks_per_shard
      ).items()
    }
    plan = Plan(flags.out, SOURCE, flags.audio, rules, shards)
    result = grow(
      plan,
      duplicates=flags.duplicates,
      verify=flags.verify,
      retry=flags.retry_skipped,
      workers=flags.workers,
      scheduler=flags.scheduler,
    )
    skipped = collection.skipped + result.skipped
    if not result.splits:
      raise UserError(
        f"{flags.audio}: yields no segment; all {len(skipped)} files were left out,"
        f" such as {skipped[-1]['file']}: {skipped[-1]['reason']}"
      )
    manifest = Manifest(
      kind="fma",
      sample_rate=cut.sample_rate,
      seconds=cut.seconds,
      hop_seconds=cut.hop,
      num_channels=NUM_CHANNELS,
      codec=cut.codec,
      splits=result.splits,
      skipped=skipped,
      content=result.content,
      notes=result.notes,
      provenance=result.provenance(
        _source_name(flags), collection.licenses, collection.left_out
      ),
    )
    manifest.save(flags.out)
  _summarize(flags.out, manifest, collection.found)
  _warn(manifest, collection, flags.valid_share)


def _collect(flags: argparse.Namespace) -> Collection:
  if not flags.metadata:
    valid = VALID_SHARE if flags.valid_share is None else flags.valid_share
    return collect_any(flags.audio, valid, flags.test_share or 0.0, flags.group_by)
  return collect_fma(
    flags.audio,
    flags.metadata,
    flags.subset or SUBSETS[-1],
    flags.license,
    flags.group_by,
  )


def _source_name(flags: argparse.Namespace) -> str:
  if flags.metadata:
    return f"FMA, subset {flags.subset or SUBSETS[-1]}"
  return str(flags.audio.resolve().name)


def _settings(flags: argparse.Namespace, rules: Rules) -> dict[str, Any]:
  """Return all settings that determine the shards of given files."""
  cut = rules.cut
  return {
    "layout": _LAYOUT,
    "sample_rate": cut.sample_rate,
    "seconds": cut.seconds,
    "hop": cut.hop,
    "codec": cut.codec,
    "accept": "paper" if rules.strict else "any",
    "damaged": rules.damaged,
    "duplicates": flags.duplicates,
    "tracks_per_shard": flags.tracks_per_shard,
    "split": "metadata"
    if flags.metadata
    else [
      VALID_SHARE if flags.valid_share is None else flags.valid_share,
      flags.test_share or 0.0,
    ],
    "subset": flags.subset or SUBSETS[-1] if flags.metadata else None,
    "license": sorted(flags.license),
    "group_by": flags.group_by,
  }


def _summarize(out: Path, manifest: Manifest, num_files: int) -> None:
  """Say in a few lines what was made."""
  counts = {
    split: sum(entry["records"] for entry in sources[SOURCE])
    for split, sources in manifest.splits.items()
  }
  listed = ", ".join(f"{split} {count:,}" for split, count in counts.items())
  provenance = manifest.provenance
  print(
    f"{out}: {sum(counts.values()):,} segments of {manifest.seconds:g} s ({listed}) of"
    f" {provenance['files']:,} files, {provenance['hours']:,.1f} h; {num_files:,} audio"
    " files found"
  )
  see = f"see {out / 'manifest.json'}"
  if left_out := provenance["left_out"]:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in left_out.items())
    print(f"{out}: left out: {kinds}; {see}")
  if (cut_short := provenance["cut_short"])["files"]:
    print(
      f"{out}: {cut_short['files']:,} damaged files are used in part,"
      f" {cut_short['seconds_lost']:,.1f} s are lost; {see}"
    )
  for note in manifest.notes:
    if note["reason"].startswith("warning: "):
      print(f"{note['reason']} ({note['file']})", file=sys.stderr)


def _warn(
  manifest: Manifest, collection: Collection, valid_share: float | None
) -> None:
  """Warn if no segment is left for training or for validation."""
  for split, use in (("train", "for training"), ("valid", "for validation")):
    if split in manifest.splits or (split == "valid" and valid_share == 0):
      continue
    tracks = collection.tracks.get(split)
    reason = (
      f"its {len(tracks)} track(s) yield none" if tracks else "no track is left for it"
    )
    print(f"warning: no segment {use}: {reason}", file=sys.stderr)


if __name__ == "__main__":
  sys.exit(run_command(main, INTERRUPTED))
