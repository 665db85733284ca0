"""A library of 100,000 tiny files: planned, resumed, grown and listed in minutes."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from music_files import RATE, noise, write

from data_prep import fma
from data_prep.music_reports import ShardReport
from data_prep.plan import deal
from data_prep.splits import split_by_hash
from data_prep.tracks import Track, TrackReport
from mixit_jax.data.records import write_shard

REPOSITORY = Path(fma.__file__).parent.parent
FILES = 100_000
MINUTES = 5
MEGABYTES = 2048


def prepare(music, out):
  """Prepares in a process of its own; returns CPU seconds, memory [MB] and output."""
  flags = [f"--sample-rate={RATE}", "--seconds=1", "--hop=1", "--workers=1"]
  command = [sys.executable, "-m", "data_prep.fma", f"--audio={music}", f"--out={out}"]
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  done = subprocess.run(
    [*command, *flags], cwd=REPOSITORY, capture_output=True, text=True, check=True
  )
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  spent = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
  return spent, used.ru_maxrss / 1024, done.stdout


def pretend_prepared(music, out, names):
  """Writes what a preparation of copies of one file would leave: one record of each."""
  splits = split_by_hash(names, fma.VALID_SHARE)
  for split in ("train", "valid"):
    tracks = []
    for name in (name for name in names if splits[name] == split):
      status = (music / name).stat()
      tracks.append(Track(name, status.st_size, status.st_mtime_ns))
    for place, members in deal(out, "mixture", split, tracks, None).items():
      count = write_shard(place.path, (track.file.encode() for track in members))
      reports = [
        TrackReport(
          **track._asdict(), content="0" * 32, audio=track.file, seconds=1.0, records=1
        )
        for track in members
      ]
      ShardReport(count, place.path.stat().st_size, reports).save(place)


@pytest.mark.slow
def test_a_hundred_thousand_files_take_minutes_not_hours(tmp_path):
  music, out = tmp_path / "music", tmp_path / "out"
  source = write(tmp_path / "one.flac", noise(0, 1))
  names = [f"{n // 1000:03d}/{n:06d}.flac" for n in range(FILES)]
  for name in names:
    (music / name).parent.mkdir(parents=True, exist_ok=True)
    (music / name).symlink_to(source)
  # Decoding them all takes an hour, and is no part of this.
  small = tmp_path / "small"
  write(small / "a.flac", noise(1, 1))
  prepare(small, out)
  for path in (out / "mixture").iterdir():
    path.unlink()
  pretend_prepared(music, out, names)
  spent = 0.0
  for step in ("plan and resume", "ten more", "nothing to do"):
    if step == "ten more":
      for number in range(10):
        write(music / f"new/{number}.flac", noise(number, 1))
    seconds, megabytes, output = prepare(music, out)
    spent += seconds
    print(f"{step}: {seconds:.0f} s, {megabytes:.0f} MB")
    expected = 10 if step == "ten more" else 0
    assert f"out: {expected} of 100,0" in output
  manifest = json.loads((out / "manifest.json").read_text())
  assert manifest["provenance"]["files"] == FILES + 10
  assert spent < 60 * MINUTES
  assert megabytes < MEGABYTES
