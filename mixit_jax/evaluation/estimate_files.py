"""Anybody's estimates: files beside those of the references."""

import dataclasses
import hashlib
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from mixit_jax.audio.recording import check_recording
from mixit_jax.data.song_streams import (
  StreamedSong,
  check_rate,
  common_length,
  open_song,
)
from mixit_jax.data.songs import song_folders, stem_files
from mixit_jax.errors import UserError
from mixit_jax.evaluation.song_scores import Plan
from mixit_jax.stems import MIXTURE


def estimates_plan(
  folder: Path, songs: Path, stems: Sequence[str], jobs: int = 1
) -> Plan:
  """Plan to score estimates in files.

  Args:
    folder: of the estimates, see `find_estimates`.
    songs: folder of song folders with the references.
    stems: names of the stems to score.
    jobs: songs at a time.

  Raises:
    UserError: there is no such folder, or no song.
  """
  if not folder.is_dir():
    raise UserError(f"--estimates={folder}: not found; give a folder of song folders")

  def files(song: Path) -> str:
    references = stem_files(song, [*stems, MIXTURE])
    found = find_estimates(folder, song, stems)
    return fingerprint([*references.values(), *found.values()])

  return Plan(
    tuple(stems),
    song_folders(songs, stems),
    lambda song: open_with_estimates(folder, song, stems),
    files,
    {"estimates": str(folder.resolve()), "stems": list(stems)},
    jobs,
  )


def find_estimates(folder: Path, song: Path, stems: Sequence[str]) -> dict[str, Path]:
  """Find the estimates of a song.

  They are in a folder of the song's name, maybe one step further down in `mixture`, as
  separating `SONG/mixture.wav` leaves them; or in `folder` itself, if it holds stems.

  Args:
    folder: of all estimates.
    song: folder of the references.
    stems: names of the stems.

  Returns:
    file of each stem.

  Raises:
    UserError: there is none for a stem, or there are two.
  """
  for place in (folder / song.name, folder / song.name / MIXTURE, folder):
    files = stem_files(place, stems) if place.is_dir() else {}
    if not files:
      continue
    if missing := [stem for stem in stems if stem not in files]:
      raise UserError(
        f"{place}: has no estimate of {', '.join(missing)}; --stems names those to"
        " score"
      )
    return files
  wanted = ", ".join(f"{stem}.wav" for stem in stems)
  raise UserError(
    f"{song.name}: no estimates; expected {folder / song.name} with {wanted} (or"
    " another audio format)"
  )


def open_with_estimates(
  folder: Path, song: Path, stems: Sequence[str]
) -> tuple[StreamedSong, Generator[np.ndarray, None, None]]:
  """Open a song and its estimates, which must have its rate, channels and length.

  Nothing is resampled or shifted: that would count as an error of the estimates.

  Returns:
    the song, and its estimates [N, C, l] in blocks.

  Raises:
    UserError: a file is missing, damaged, or does not fit the others.
  """
  found = find_estimates(folder, song, stems)
  opened = open_song(song, stems)
  estimates = [check_recording(found[stem]) for stem in stems]
  first = opened.references[0]
  for estimate in estimates:
    check_rate(estimate, first)
    if estimate.num_channels != opened.num_channels:
      raise UserError(
        f"{estimate.name}: has {estimate.num_channels} channels, but {first.name} has"
        f" {opened.num_channels}"
      )
  together = {each.name: each for each in (*opened.references, *estimates)}
  if opened.mixture is not None:
    together[opened.mixture.name] = opened.mixture
  length = common_length(song, together, opened.sample_rate)
  opened = dataclasses.replace(opened, length=length)
  return opened, opened.stacked(estimates)


def fingerprint(files: Sequence[Path]) -> str:
  """Return what changes when one of some files does: names, sizes and times."""
  text = [f"{file.name} {(s := file.stat()).st_size} {s.st_mtime_ns}" for file in files]
  return hashlib.sha256("\n".join(text).encode("utf-8", "surrogateescape")).hexdigest()[
    :16
  ]
