"""Peak memory of `mixit-jax separate` by the length of the recording.

    python -m benchmarks.long_recordings RUN [MINUTES…]

Makes stereo recordings of noise at 44.1 kHz (16-bit WAV), separates each in its own
process, and prints the minutes, the seconds taken and the process's largest memory.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100


def main(run: str, minutes: list[float]) -> None:
  """Measure each length and print a line for it."""
  for each in minutes:
    with tempfile.TemporaryDirectory() as folder:
      song = Path(folder, "song.wav")
      _write_noise(song, each)
      arguments = [run, str(song), f"--out={folder}/stems", "--bits=16"]
      begun = time.monotonic()
      process = subprocess.Popen(
        [sys.executable, "-m", "mixit_jax.cli", "separate", *arguments]
      )
      _, status, usage = os.wait4(process.pid, 0)
      seconds = time.monotonic() - begun
    memory = usage.ru_maxrss / 2**20
    print(f"{each:g} min: {seconds:.0f} s, {memory:.2f} GiB, status {status}")


def _write_noise(file: Path, minutes: float) -> None:
  random = np.random.default_rng(0)
  with soundfile.SoundFile(file, "w", RATE, 2) as out:
    for _ in range(round(60 * minutes)):
      out.write(random.uniform(-0.3, 0.3, (RATE, 2)))


if __name__ == "__main__":
  main(sys.argv[1], [float(text) for text in sys.argv[2:]] or [1.0, 60.0])
