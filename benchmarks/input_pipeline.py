"""Crops per second and core: records in FLAC and WAV beside float32 in HDF5.

    python -m benchmarks.input_pipeline [--seconds=6] [--music=FOLDER] …

Pre-training examples, two random crops each, from the package's pipeline over shards,
and from a PyTorch DataLoader over one HDF5 file per track whose float32 samples lie in
one piece, as much code for music separation reads them. Each contestant has one thread
or process, and takes turns with the others. What counts is the time that it computes:
it does not depend on what else the machine does. Without --music the tracks are noise
with a musical spectrum, the worst case for a codec.

Needs the extra `bench` (PyTorch, h5py) for the baseline.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import options
from benchmarks.report import rows, save, show
from benchmarks.turns import Contestant, Result, Task, compete

RATE = 44100
CODECS: tuple[Literal["flac", "wav"], ...] = ("flac", "wav")
_BATCHES_PER_RUN = 8
_CROPS = 2  # of an example


def main() -> None:
  """Run the contest."""
  parser = options.parser(
    __doc__,
    "rounds",
    tracks=12,
    track_seconds=60.0,
    record_seconds=10.0,
    seconds=6.0,
    batch=8,
    music="",
  )
  settings = parser.parse_args()
  tables = measure(settings)
  if settings.save:
    save("input-pipeline", settings, tables)


def measure(settings: Any) -> dict[str, Any]:
  """Run the contest and print its tables."""
  s = settings
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    write_tracks(folder, s)
    common = {"seconds": s.seconds, "batch": s.batch}
    here = "benchmarks.input_pipeline"
    contestants = [
      Contestant(
        f"{codec} records", f"{here}:shards", {"folder": f"{name}/{codec}", **common}
      )
      for codec in CODECS
    ]
    if not s.no_torch:
      arguments = {"folder": f"{name}/hdf5", **common}
      contestants.append(Contestant("float32 HDF5", f"{here}:torch_loader", arguments))
    results = compete(contestants, s.rounds)
    sizes = {path.name: _bytes(path) for path in folder.iterdir()}
    stages = [
      {"name": f"{codec} records", **time_stages(folder / codec, s.seconds)}
      for codec in CODECS
    ]
  return report(results, sizes, stages, settings)


def report(
  results: list[Result],
  sizes: dict[str, int],
  stages: list[dict[str, Any]],
  settings: Any,
) -> dict[str, Any]:
  """Make and print the tables."""
  s = settings
  crops = _BATCHES_PER_RUN * s.batch * _CROPS
  table = rows(results, 0, None)
  rates = {r.name: [crops / t for t in r.cpu_seconds] for r in results if r.cpu_seconds}
  baseline = rates.get("float32 HDF5")
  for row, result, size in zip(table, results, (*CODECS, "hdf5"), strict=False):
    row["mb_on_disk"] = round(sizes[size] / 1e6, 1)
    if result.name not in rates:
      continue
    row["crops_per_second_and_core"] = round(statistics.median(rates[result.name]), 1)
    if baseline:
      pairs = zip(rates[result.name], baseline, strict=True)
      row["crops_over_hdf5"] = round(statistics.median(a / b for a, b in pairs), 2)
    if "hdf5" in sizes:
      row["bytes_over_hdf5"] = round(sizes[size] / sizes["hdf5"], 3)
  show(f"Crops of {s.seconds:g} s, stereo, {RATE} Hz, one thread", table)
  show("Milliseconds that a crop takes, by stage", stages)
  return {"crops": table, "stages": stages}


def shards(folder: str, seconds: float, batch: int) -> Task:
  """Make the package's pipeline over shards, with one thread."""
  from mixit_jax.data.batches import host_batches
  from mixit_jax.data.mixtures import mixture_pairs

  dataset = mixture_pairs(Path(folder), "train", seconds, RATE, seed=0)
  batches = host_batches(dataset, 0, batch, threads=1)
  return _drawing((b["segments"] for b in batches), batch, seconds)


def torch_loader(folder: str, seconds: float, batch: int) -> Task:
  """Make a PyTorch loader over HDF5 files, in its own process."""
  import h5py
  import torch

  torch.set_num_threads(1)
  files = sorted(Path(folder).iterdir())
  length = round(seconds * RATE)

  class Pairs(torch.utils.data.Dataset):
    def __len__(self) -> int:
      return 10**9

    def __getitem__(self, index: int) -> torch.Tensor:
      generator = np.random.default_rng(index)
      crops = []
      for number in generator.choice(len(files), 2, replace=False):
        with h5py.File(files[number], "r") as file:
          audio = file["mixture"]
          start = generator.integers(audio.shape[-1] - length + 1)
          crops.append(torch.from_numpy(audio[:, start : start + length]))
      return torch.stack(crops)

  loader = torch.utils.data.DataLoader(Pairs(), batch)
  return _drawing(iter(loader), batch, seconds)


def _drawing(batches: Iterator[Any], batch: int, seconds: float) -> Task:
  """Draw enough batches that those read ahead count little."""
  shape = (batch, _CROPS, 2, round(seconds * RATE))

  def run() -> None:
    for _ in range(_BATCHES_PER_RUN):
      assert tuple(next(batches).shape) == shape

  return Task(run)


def time_stages(folder: Path, seconds: float, count: int = 64) -> dict[str, float]:
  """Time what becomes of one crop, in milliseconds of one core each.

  Returns:
    `header`: finding and opening the record (of FLAC, reading it whole); `samples`:
    those of the crop; `batch`: its copies on the way into an example and a batch.
  """
  from mixit_jax.data.records import open_shards

  source = open_shards(folder, "train", "mixture")
  generator, length = np.random.default_rng(0), round(seconds * RATE)
  spent = {"header": 0.0, "samples": 0.0, "batch": 0.0}
  for _ in range(count):
    record = int(generator.integers(len(source)))
    first = int(generator.integers(source.num_samples - length + 1))
    begun = time.process_time()
    source.read(record, first, 0)
    opened = time.process_time()
    crop = source.read(record, first, length).audio
    read = time.process_time()
    np.stack([np.stack([crop])])
    spent["batch"] += time.process_time() - read
    spent["samples"] += (read - opened) - (opened - begun)
    spent["header"] += opened - begun
  return {stage: round(1000 * total / count, 2) for stage, total in spent.items()}


def write_records(folder: Path, count: int, seconds: float) -> None:
  """Write a set of FLAC records of noise; training and validation have the same."""
  tracks = [noise(number, round(seconds * RATE)) for number in range(count)]
  _write_set(folder, tracks, seconds, "flac", ("train", "valid"))


def write_tracks(folder: Path, settings: Any) -> None:
  """Write the same music as shards of FLAC and of WAV, and as HDF5."""
  tracks = list(_music(settings))
  for codec in CODECS:
    _write_set(folder / codec, tracks, settings.record_seconds, codec, ("train",))
  if settings.no_torch:
    return
  import h5py

  (folder / "hdf5").mkdir()
  for number, audio in enumerate(tracks):
    with h5py.File(folder / "hdf5" / f"{number:04}.h5", "w") as target:
      target["mixture"] = audio


def _write_set(
  folder: Path,
  tracks: Sequence[np.ndarray],
  seconds: float,
  codec: Literal["flac", "wav"],
  splits: Sequence[str],
) -> None:
  """Write the records of some tracks to one shard."""
  from mixit_jax.data.records import Manifest, Segment, encode_segment, write_shard

  length = round(seconds * RATE)
  records = [
    encode_segment(
      Segment(audio[:, start : start + length], f"track {number}", start / RATE),
      RATE,
      codec,
    )
    for number, audio in enumerate(tracks)
    for start in range(0, audio.shape[1] - length + 1, length)
  ]
  file = "mixture/train-00000-of-00001.arrayrecord"
  count = write_shard(folder / file, records)
  shards: Any = {"mixture": [{"file": file, "records": count}]}
  Manifest(
    kind="fma",
    sample_rate=RATE,
    seconds=seconds,
    hop_seconds=seconds,
    num_channels=2,
    codec=codec,
    splits=dict.fromkeys(splits, shards),
  ).save(folder)


def _music(settings: Any) -> Iterator[np.ndarray]:
  """Yield tracks of equal length, whole records of 16 bits, float32 [2, L]."""
  from mixit_jax.audio.files import find_audio, read_audio

  length = round(settings.track_seconds * RATE)
  length -= length % round(settings.record_seconds * RATE)
  if settings.music:
    found = (read_audio(path, RATE) for path in find_audio(Path(settings.music)).files)
    long_enough = (audio[:, :length] for audio in found if audio.shape[1] >= length)
    for _, audio in zip(range(settings.tracks), long_enough, strict=False):
      yield np.round(audio.clip(-1, 0.999) * 32768).astype(np.float32) / 32768
    return
  yield from (noise(number, length) for number in range(settings.tracks))


def noise(seed: int, length: int) -> np.ndarray:
  """Return noise with a musical spectrum in 16 bits, float32 [2, length]."""
  generator = np.random.default_rng(seed)
  spectrum = np.fft.rfft(generator.standard_normal((2, length)))
  spectrum /= np.sqrt(1 + np.arange(spectrum.shape[-1]))  # pink
  audio = np.fft.irfft(spectrum, length)
  audio *= 0.5 / np.abs(audio).max()
  return (np.round(audio * 32768) / 32768).astype(np.float32)


def _bytes(folder: Path) -> int:
  return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
  main()
