"""Gather real recordings under open licenses from packages of Debian: 480 MB.

    python -m data_prep.debian --out=data/debian

Mixes for pre-training lie in unlabeled/ (10.6 hours of many styles), songs in two parts
in guitar/train, valid and test: a folder per song with guitar.ogg and other.ogg, which
holds all the rest. --songs links to songs of your own that are laid out as MUSDB18-HQ.
Prepare all of it with data_prep.fma and data_prep.musdb.

A package that is installed is linked to. Any other is taken from the archives, or is
downloaded there, without root, by apt-get download. What cannot be had is left out,
with the reason. licenses.tsv names the license of every package, and licenses/ holds
its copyright file. Started again, the command goes on.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from data_prep.command import INTERRUPTED
from data_prep.debian.archives import UnavailableError, unpack
from data_prep.debian.packages import PACKAGES, TEST_SONGS, VALID_SONGS, MusicPackage
from data_prep.preparation import claim_folder
from data_prep.song_sets import SPLITS, UNLABELED
from mixit_jax.audio.files import find_audio
from mixit_jax.console import expand_home, run_command
from mixit_jax.errors import UserError
from mixit_jax.files import read_json, replacing, write_json
from mixit_jax.lock import FolderLock

GATHERED = "packages.json"
GUITAR = "guitar"


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  names = [package.name for package in PACKAGES]
  parser = argparse.ArgumentParser(
    prog="python -m data_prep.debian",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  flag = parser.add_argument
  flag("--out", type=Path, required=True, help="folder of the result")
  flag("--packages", default=",".join(names), help="(default: %(default)s)")
  flag(
    "--archives", type=Path, help="folder of .deb files (default: packages in --out)"
  )
  flag("--songs", type=Path, help="folder with train/, test/, ... to link to as well")
  flags = parser.parse_args(expand_home(arguments))
  flags.archives = flags.archives or flags.out / "packages"
  flags.packages = [name.strip() for name in flags.packages.split(",")]
  if unknown := [name for name in flags.packages if name not in names]:
    parser.error(f"--packages: {unknown[0]!r} is none of {', '.join(names)}")
  if flags.songs and not (flags.songs / "train").is_dir():
    parser.error(f"--songs: {flags.songs} has no folder train")
  return flags


def main(arguments: list[str] | None = None) -> None:
  """Gather the packages; a UserError says why there is none."""
  flags = parse_flags(arguments)
  claim_folder(flags.out, "data_prep.debian", {})
  with FolderLock(flags.out):
    if flags.songs:
      _link_songs(flags.songs, flags.out)
    path = flags.out / GATHERED
    gathered: dict[str, Any] = read_json(path) if path.exists() else {}
    for package in PACKAGES:
      if package.name not in flags.packages or package.name in gathered:
        continue
      print(f"{package.name} ...", flush=True)
      try:
        gathered[package.name] = gather(package, flags.archives, flags.out)
      except UnavailableError as error:
        print(f"warning: {package.name} is left out: {error}", file=sys.stderr)
        continue
      write_json(path, gathered)
      _write_licenses(flags.out / "licenses.tsv", gathered)
  if not gathered:
    raise UserError(
      f"{flags.out}: no package can be had. On Debian or Ubuntu run apt-get update;"
      f" elsewhere lay their archives in {flags.archives}"
    )
  files = sum(row["files"] for row in gathered.values())
  print(f"{flags.out}: {files} audio files of {len(gathered)} packages")


def gather(package: MusicPackage, archives: Path, out: Path) -> dict[str, Any]:
  """Lay out the music of a package.

  Returns:
    version, license, number of files, and the folder where they lie.

  Raises:
    UnavailableError: the package can be had in no way.
    UserError: it does not hold what it should.
  """
  unpacked = out / f".{package.name}.tmp"
  try:
    shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
    root, version = unpack(package.name, package.folder, archives, unpacked)
    music = root / package.folder
    places = {
      file: _place(package, file.relative_to(music)) for file in find_audio(music).files
    }
    for file, place in places.items():
      _take(file, out / place, link=root != unpacked)
    notice = root / f"usr/share/doc/{package.name}/copyright"
    if notice.exists():
      (out / "licenses").mkdir(exist_ok=True)
      shutil.copyfile(notice, out / f"licenses/{package.name}.txt")
  finally:
    shutil.rmtree(unpacked, ignore_errors=True)
  return {
    "version": version,
    "license": package.license,
    "files": len(places),
    "folder": GUITAR if package.stems else UNLABELED,
  }


def _place(package: MusicPackage, file: Path) -> Path:
  """Return where a file of a package belongs."""
  if not package.stems:
    return Path(UNLABELED) / "_".join((package.name, *file.parts))
  song = file.parent.name
  split = "valid" if song in VALID_SONGS else "test" if song in TEST_SONGS else "train"
  return Path(GUITAR) / split / song / dict(package.stems)[file.name]


def _link_songs(songs: Path, out: Path) -> None:
  """Link to the splits of a folder of songs with stems."""
  for split in SPLITS:
    if (songs / split).is_dir():
      (out / split).unlink(missing_ok=True)
      (out / split).symlink_to((songs / split).resolve())


def _take(source: Path, target: Path, link: bool) -> None:
  """Move a file, or link to it."""
  target.parent.mkdir(parents=True, exist_ok=True)
  target.unlink(missing_ok=True)  # of a run that was killed
  if link:
    target.symlink_to(source)
  else:
    source.replace(target)


def _write_licenses(path: Path, gathered: dict[str, Any]) -> None:
  columns = ("version", "license", "files", "folder")
  lines = ["\t".join(("package", *columns))]
  for name, row in gathered.items():
    lines.append("\t".join((name, *(str(row[column]) for column in columns))))
  with replacing(path) as temporary:
    temporary.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
  sys.exit(run_command(main, INTERRUPTED))
