"""Is this data whole? Reads what a run would read: records, and validation songs."""

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from mixit_jax.data.limits import OpenFilesError
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.records import ShardSource
from mixit_jax.data.songs import find_songs, read_song
from mixit_jax.doctor.checks import Check
from mixit_jax.errors import UserError, one_line

# What a sample takes of each shard, and how long all samples of a set may take.
_OF_A_SHARD = 4
_SECONDS = 40.0
_THREADS = 8
_NAMED = 5
_SEED = 0


def data_checks(folders: Sequence[Path], everything: bool) -> Iterator[Check]:
  """Yield the checks of prepared data, one after the other.

  Args:
    folders: as in `data.shards`.
    everything: read every record; else some of each shard, for less than a minute.
  """
  for folder in folders:
    yield Check(f"{folder}", partial(_describe, folder))
    try:
      manifest = Manifest.load(folder)
    except UserError:
      continue  # the check above has said why
    pairs = [
      (split, name) for split in manifest.splits for name in manifest.splits[split]
    ]
    seconds = _SECONDS / max(1, len(pairs) * len(folders))
    for split, source in pairs:
      limit = None if everything else seconds
      yield Check(
        f"{folder}, {split} {source}",
        partial(_read_records, folder, manifest, split, source, limit),
      )
    if (folder / "valid").is_dir() and manifest.songs.get("valid"):
      yield Check(f"{folder}, validation songs", partial(_read_songs, folder, manifest))


def _describe(folder: Path) -> str:
  manifest = Manifest.load(folder)
  stems = manifest.stem_names()
  what = f"stems {', '.join(stems)}" if stems else "unlabeled music"
  return (
    f"{what}, segments of {manifest.seconds:g} s at {manifest.sample_rate} Hz,"
    f" {manifest.num_channels} channels, {len(manifest.skipped)} files left out"
  )


def _read_records(
  folder: Path, manifest: Manifest, split: str, source: str, seconds: float | None
) -> str:
  """Read records in threads; say how many.

  Raises:
    UserError: some are damaged; it names the first ones.
  """
  shards = ShardSource(folder, manifest, split, source)
  chosen = range(len(shards)) if seconds is None else _sample(shards)
  end = None if seconds is None else time.monotonic() + seconds
  read, damaged = 0, []

  def problem(record: int) -> str | None:
    try:
      shards.read(int(record))
    except OpenFilesError:
      raise
    except UserError as error:
      return one_line(error)
    return None

  with ThreadPoolExecutor(_THREADS) as pool:
    records = iter(chosen)
    # A few at a time: what waits to be counted stays small.
    while part := list(itertools.islice(records, 8 * _THREADS)):
      found = list(pool.map(problem, part))
      read += len(found)
      damaged += [text for text in found if text]
      if end is not None and time.monotonic() > end:
        break
  if damaged:
    more = len(damaged) - _NAMED
    raise UserError(
      f"{len(damaged)} of {read} records are damaged: {'; '.join(damaged[:_NAMED])}"
      + (f"; and {more} more" if more > 0 else "")
    )
  amount = "all" if read == len(shards) else f"{read} of"
  return f"{amount} {len(shards)} records are whole"


def _sample(shards: ShardSource) -> list[int]:
  """Choose some records of each shard, one of every shard first."""
  generator = np.random.default_rng(_SEED)
  rounds: list[list[int]] = [[] for _ in range(_OF_A_SHARD)]
  for first, count in shards.shard_ranges():
    drawn = generator.permutation(count)[:_OF_A_SHARD]
    for number, record in enumerate(drawn):
      rounds[number].append(first + int(record))
  return [record for part in rounds for record in part]


def _read_songs(folder: Path, manifest: Manifest) -> str:
  """Read the validation songs whole, as validation and selection do.

  Raises:
    UserError: some cannot be used; it names them.
  """
  stems = manifest.stem_names()
  songs = find_songs(folder / "valid", stems)
  missing = {Path(song).name for song in manifest.songs["valid"]}
  missing -= {song.name for song in songs}
  problems = [f"{name} is missing" for name in sorted(missing)]
  seconds = 0.0
  for song in songs:
    try:
      audio = read_song(song, stems, manifest.sample_rate, manifest.num_channels)
      seconds += audio.mixture.shape[1] / manifest.sample_rate
    except UserError as error:
      problems.append(one_line(error))
  if problems:
    raise UserError(f"{len(problems)} songs cannot be used: {'; '.join(problems)}")
  return f"{len(songs)} songs of {seconds / 60:.1f} min are whole, {', '.join(stems)}"
