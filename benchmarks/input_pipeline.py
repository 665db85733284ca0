"""Speed of the input pipeline, beside a PyTorch DataLoader.

    python -m benchmarks.input_pipeline [--records=64] [--workers=2] …

Pre-training examples: two random crops of 6 s from 8-s stereo FLAC records of noise
with a musical spectrum, the worst case for a codec. Ours reads shards with threads;
the baseline reads FLAC files with soundfile in worker processes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import options
from benchmarks.report import rows, save, show
from benchmarks.turns import Contestant, Task, compete

RATE = 44100
_BATCHES_PER_RUN = 8


def main() -> None:
  """Run the contest."""
  parser = options.parser(
    __doc__, "rounds", records=64, record_seconds=8.0, seconds=6.0, batch=16, workers=2
  )
  settings = parser.parse_args()
  tables = measure(settings)
  if settings.save:
    save("input-pipeline", settings, tables)


def measure(settings: Any) -> dict[str, Any]:
  """Run the contest and print its table."""
  s = settings
  with tempfile.TemporaryDirectory() as folder:
    write_records(Path(folder), s.records, s.record_seconds)
    common = {
      "folder": folder,
      "seconds": s.seconds,
      "batch": s.batch,
      "workers": s.workers,
    }
    here = "benchmarks.input_pipeline"
    contestants = [Contestant("mixit_jax", f"{here}:shards", common)]
    if not s.no_torch:
      contestants.append(Contestant("PyTorch", f"{here}:torch_loader", common))
    # Apart: in turns, one would read ahead while the other is timed.
    table = rows(compete(contestants, s.rounds, apart=True), 0, None)
  for row in table:
    if "median_seconds" in row:
      row["examples_per_second"] = round(
        _BATCHES_PER_RUN * s.batch / row["median_seconds"], 1
      )
  show(f"Batches of {s.batch} examples of 2 x {s.seconds:g} s", table)
  return {"batches": table}


def shards(folder: str, seconds: float, batch: int, workers: int) -> Task:
  """Make the package's pipeline over shards."""
  from mixit_jax.data.batches import host_batches
  from mixit_jax.data.mixtures import mixture_pairs

  dataset = mixture_pairs(Path(folder), "train", seconds, RATE, seed=0)
  batches = host_batches(dataset, 0, batch, threads=workers)
  return _drawing((b["segments"] for b in batches), batch, seconds)


def torch_loader(folder: str, seconds: float, batch: int, workers: int) -> Task:
  """Make a PyTorch loader over files."""
  import soundfile
  import torch

  files = sorted((Path(folder) / "files").iterdir())
  length = round(seconds * RATE)

  class Pairs(torch.utils.data.Dataset):
    def __len__(self) -> int:
      return 10**9

    def __getitem__(self, index: int) -> np.ndarray:
      generator = np.random.default_rng(index)
      crops = []
      for number in generator.choice(len(files), 2, replace=False):
        file = files[number]
        start = generator.integers(soundfile.info(file).frames - length + 1)
        audio, _ = soundfile.read(file, length, start, dtype="float32")
        crops.append(audio.T)
      return np.stack(crops)

  loader = torch.utils.data.DataLoader(
    Pairs(), batch, num_workers=workers, multiprocessing_context="fork"
  )
  return _drawing(iter(loader), batch, seconds)


def _drawing(batches: Iterator[Any], batch: int, seconds: float) -> Task:
  """Draw enough batches that those read ahead count little."""
  shape = (batch, 2, 2, round(seconds * RATE))

  def run() -> None:
    for _ in range(_BATCHES_PER_RUN):
      assert tuple(next(batches).shape) == shape

  return Task(run)


def write_records(folder: Path, count: int, seconds: float) -> None:
  """Write the same records as one shard and as files; validation has the shard too."""
  from mixit_jax.data.records import Manifest, Segment, encode_segment, write_shard

  generator = np.random.default_rng(0)
  records = []
  for number in range(count):
    noise = generator.standard_normal((2, round(seconds * RATE)))
    spectrum = np.fft.rfft(noise)
    spectrum /= np.sqrt(1 + np.arange(spectrum.shape[-1]))  # pink
    audio = np.fft.irfft(spectrum)
    audio *= 0.5 / np.abs(audio).max()
    segment = Segment(audio.astype(np.float32), f"track {number}", 0.0)
    records.append(encode_segment(segment, RATE))
  (folder / "files").mkdir(parents=True)
  for number, record in enumerate(records):
    (folder / "files" / f"{number:04}.flac").write_bytes(record)
  file = "mixture/train-00000-of-00001.arrayrecord"
  (folder / "mixture").mkdir()
  write_shard(folder / file, records)
  shards: Any = {"mixture": [{"file": file, "records": count}]}
  Manifest(
    kind="fma",
    sample_rate=RATE,
    seconds=seconds,
    hop_seconds=seconds,
    num_channels=2,
    codec="flac",
    splits={"train": shards, "valid": shards},
  ).save(folder)


if __name__ == "__main__":
  main()
