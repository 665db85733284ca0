"""A long preparation in small: killed, starved of disk and given other files meanwhile.

    python tests/data_prep/preparation_in_small.py --minutes=10

A folder of music is prepared again and again while accidents happen to it, drawn at
random: SIGKILL of the driver or of a worker, a full disk (a small tmpfs where it may be
mounted, else a limit on the size of files), a second preparation of the same folder,
new, removed, damaged, repaired and renamed files. At the end its shards and manifest
must be those, bit for bit, of an undisturbed preparation of the final folder.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from music_files import noise, write

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RATE = 8000
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
TMPFS_BYTES = 400_000  # beside what is there


class Life:
  """The folder of music, the folder that is prepared, and what happens to them."""

  def __init__(self, root: Path, seed: int):
    self.music, self.out = root / "music", root / "out"
    self.draws = random.Random(seed)
    self.happened: Counter[str] = Counter()
    self.made = 0
    self.damaged: dict[Path, bytes] = {}
    for _ in range(40):
      self.add()

  def accident(self) -> None:
    """Something happens to the files, and something to a preparation."""
    for change in self.draws.choices(
      (self.add, self.remove, self.damage, self.repair, self.rename, self.touch),
      k=self.draws.randint(1, 6),
    ):
      self.happened[change.__name__] += 1
      change()
    kinds = (self.undisturbed, self.kill_driver, self.kill_worker, self.full_disk)
    kind = self.draws.choice((*kinds, self.second_start))
    self.happened[kind.__name__] += 1
    kind()

  def add(self) -> None:
    """A new file, now and then a copy of another one."""
    self.made += 1
    place = self.music / f"album {self.made % 5}"
    place.mkdir(parents=True, exist_ok=True)
    files = self._files()
    if files and self.draws.random() < 0.2:
      source = self.draws.choice(files)
      shutil.copyfile(source, place / f"copy {self.made}{source.suffix}")
      return
    seconds = self.draws.uniform(0.5, 20)
    suffix = self.draws.choice(SUFFIXES)
    subtype = None if suffix in (".mp3", ".ogg") else "PCM_16"
    write(place / f"{self.made}{suffix}", noise(self.made, seconds), RATE, subtype)

  def remove(self) -> None:
    """A file less."""
    if len(files := self._files()) > 20:
      file = self.draws.choice(files)
      self.damaged.pop(file, None)
      file.unlink()

  def damage(self) -> None:
    """A file whose end is lost, or that has zeros inside."""
    file = self.draws.choice(self._files())
    content = file.read_bytes()
    self.damaged.setdefault(file, content)
    half = len(content) // 2
    if self.draws.random() < 0.5:
      file.write_bytes(content[:half])
    else:
      file.write_bytes(content[:half] + bytes(3000) + content[half + 3000 :])

  def repair(self) -> None:
    """A damaged file that is whole again."""
    if self.damaged:
      file, content = self.damaged.popitem()
      file.write_bytes(content)

  def rename(self) -> None:
    """A file that lies elsewhere."""
    file = self.draws.choice(self._files())
    target = self.music / f"album {self.draws.randint(0, 4)}/{self.made} {file.name}"
    content = self.damaged.pop(file, None)
    file.rename(target)
    if content is not None:
      self.damaged[target] = content

  def touch(self) -> None:
    """A file with the same content and another time."""
    self.draws.choice(self._files()).touch()

  def undisturbed(self) -> None:
    """A preparation that ends."""
    self.finish(self.out)

  def kill_driver(self) -> None:
    """A preparation whose driver is killed."""
    with self._started() as process:
      self._wait(process)
      process.kill()

  def kill_worker(self) -> None:
    """A preparation that loses workers and ends all the same."""
    with self._started("--workers=2") as process:
      self._wait(process)
      for worker in _workers(process.pid)[:1]:
        with contextlib.suppress(ProcessLookupError):
          os.kill(worker, signal.SIGKILL)
      assert process.wait(600) == 0, process.stderr.read()

  def full_disk(self) -> None:
    """A preparation on a disk that is full."""
    if _mounted(self.out):
      filler = self.out / ".filler"
      free = shutil.disk_usage(self.out).free
      filler.write_bytes(bytes(max(free - TMPFS_BYTES // 4, 0)))
      try:
        self._expect_one_line(("sh", "-c", 'exec "$@"', "sh"))
      finally:
        filler.unlink()
    else:
      self._expect_one_line(("sh", "-c", 'ulimit -f 20; exec "$@"', "sh"))

  def second_start(self) -> None:
    """Two preparations of one folder: the second ends with one line."""
    with self._started() as process:
      while process.poll() is None and not list(self.out.glob(".owner-*")):
        time.sleep(0.02)
      second = self._run(self.out)
      if process.poll() is None:
        assert second.returncode == 1, second.stderr
        assert "is in use by process" in second.stderr
      process.wait()

  def finish(self, out: Path, *flags: str) -> None:
    """A preparation to its end."""
    done = self._run(out, flags=flags)
    assert done.returncode == 0, done.stderr

  def _files(self) -> list[Path]:
    files = sorted(self.music.rglob("*.*")) if self.music.is_dir() else []
    return [file for file in files if file.is_file()]

  def _command(self, out: Path, *flags: str) -> list[str]:
    settings = [f"--sample-rate={RATE}", "--seconds=2", "--hop=1", "--valid-share=0.2"]
    paths = [f"--audio={self.music}", f"--out={out}"]
    return [sys.executable, "-m", "data_prep.fma", *paths, *settings, *flags]

  def _run(
    self, out: Path, prefix: tuple[str, ...] = (), flags: tuple[str, ...] = ()
  ) -> subprocess.CompletedProcess:
    return subprocess.run(
      [*prefix, *self._command(out, "--workers=1", *flags)],
      cwd=REPOSITORY,
      capture_output=True,
      text=True,
      timeout=600,
      check=False,
    )

  def _expect_one_line(self, prefix: tuple[str, ...]) -> None:
    done = self._run(self.out, prefix)
    if done.returncode:  # it may have had nothing to write
      lines = [x for x in done.stderr.splitlines() if not x.startswith("warning")]
      assert len(lines) == 1, done.stderr
      assert "cannot be written" in lines[0], done.stderr

  @contextlib.contextmanager
  def _started(self, *flags: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
      self._command(self.out, *(flags or ("--workers=1",))),
      cwd=REPOSITORY,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    try:
      yield process
    finally:
      for child in _workers(process.pid):
        with contextlib.suppress(ProcessLookupError):
          os.kill(child, signal.SIGKILL)
      process.kill()
      process.wait()

  def _wait(self, process: subprocess.Popen) -> None:
    end = time.monotonic() + self.draws.uniform(1, 8)
    while process.poll() is None and time.monotonic() < end:
      time.sleep(0.02)


def _workers(process: int) -> list[int]:
  """Processes of workers below a driver."""
  found = []
  with contextlib.suppress(OSError):
    for thread in Path(f"/proc/{process}/task").iterdir():
      found += map(int, (thread / "children").read_text().split())
  return [child for child in found if b"spawn_main" in _command_line(child)]


def _command_line(process: int) -> bytes:
  with contextlib.suppress(OSError):
    return Path(f"/proc/{process}/cmdline").read_bytes()
  return b""


def _mounted(folder: Path) -> bool:
  return folder.is_mount()


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
  """A tmpfs at a folder, where this process may mount one."""
  folder.mkdir()
  command = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)]
  try:
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
  except FileNotFoundError:
    mounted = False
  print("full disks:", "a tmpfs" if mounted else "a limit on the size of files")
  try:
    yield
  finally:
    if mounted:
      subprocess.run(["umount", str(folder)], check=True)


def shards(out: Path) -> dict[str, bytes]:
  """What a preparation has made, but for reports, which know the times of files."""
  files = [*out.rglob("*.arrayrecord"), out / "manifest.json"]
  return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def main() -> None:
  """Live through the time and compare."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--minutes", type=float, default=10)
  parser.add_argument("--seed", type=int, default=0)
  flags = parser.parse_args()
  np.seterr(all="raise")
  begun = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    with _small_disk(root / "out"):
      life = Life(root, flags.seed)
      while time.monotonic() < begun + 60 * flags.minutes:
        life.accident()
      # A track at which three processes were killed was given up.
      life.finish(life.out, "--retry-skipped")
      life.finish(root / "undisturbed")
      disturbed, undisturbed = shards(life.out), shards(root / "undisturbed")
      assert disturbed.keys() == undisturbed.keys()
      assert disturbed == undisturbed
      left = [p.name for p in (life.out / "mixture").iterdir() if p.name[0] == "."]
      assert not left, left
      print(f"{len(disturbed) - 1} shards, same bits after {dict(life.happened)}")
  print(f"{(time.monotonic() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
  main()
