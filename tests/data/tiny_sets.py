"""Writes tiny prepared data sets whose samples tell where they come from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixit_jax.data.records import Manifest, Segment, encode_segment, write_shard

RATE = 8000
SECONDS = 0.25
STEMS = ("bass", "drums", "vocals", "other")

# Tracks of the records of each shard of each source.
Tracks = dict[str, list[list[str]]]


def identified_audio(record: int) -> np.ndarray:
  """Left: the number of the sample + 1; right: the record + 1; both in 16-bit units."""
  ramp = np.arange(1, round(RATE * SECONDS) + 1)
  return (np.stack([ramp, np.full_like(ramp, record + 1)]) / 32768).astype(np.float32)


def write_set(folder: Path, tracks: Tracks, split: str = "train") -> Path:
  """Writes `tracks[source][shard]`, one record for each name of a track."""
  splits: dict = {split: {}}
  for source, shards in tracks.items():
    record, entries = 0, []
    for number, names in enumerate(shards):
      records = [
        encode_segment(Segment(identified_audio(record + i), name, i / 2), RATE)
        for i, name in enumerate(names)
      ]
      record += len(names)
      file = f"{source}/{split}-{number:05d}-of-{len(shards):05d}.arrayrecord"
      entries.append({"file": file, "records": write_shard(folder / file, records)})
    splits[split][source] = entries
  Manifest(
    kind="fma",
    sample_rate=RATE,
    seconds=SECONDS,
    hop_seconds=SECONDS / 2,
    num_channels=2,
    codec="flac",
    splits=splits,
  ).save(folder)
  return folder


def numbered_tracks(prefix: str, counts: Sequence[int], each: int) -> list[list[str]]:
  """Shards of `counts` records; every track has `each` successive records."""
  names = iter(f"{prefix}{i // each}.mp3" for i in range(sum(counts)))
  return [[next(names) for _ in range(count)] for count in counts]
