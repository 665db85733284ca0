"""One process at a time in a folder.

The lock is a small file in the folder, `.owner-1`, that says which process on which
host owns it, and since when. How it is told whether that process still lives:

- On the same host and in the same container, the kernel knows: the process with that
  number must have started at that tick of that boot. So an owner that was killed is
  replaced at once, and a number that was given to another process deceives nobody.
- From elsewhere nobody can see the process (in containers, everyone is process 1). A
  thread of the owner therefore touches the file every few seconds. Whoever finds a file
  that is not touched for a minute takes the folder over. The file is watched for that
  time, so clocks of different hosts are never compared.

Advisory locks (`flock`, `fcntl`) are not used: on many shared file systems they are
refused, or hold within one host only. Creating a file that must not exist is atomic on
all of them. Who takes over from `.owner-1` creates `.owner-2` and only then deletes the
other, so that of two that try only one succeeds. A process that was suspended, and has
lost the folder meanwhile, finds out in `check`.
"""

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import random
import re
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from mixit_jax.errors import UserError

NAME = ".owner"

# Seconds between two signs of life, and without any until an owner counts as gone.
HEARTBEAT = 10.0
GONE_AFTER = 60.0


class LockError(UserError):
  """A folder that another process owns."""


@dataclasses.dataclass(frozen=True)
class Owner:
  """A process that owns a folder.

  Attributes:
    host: name of its host, or of its container.
    process: its number there.
    started: when it took the folder, in ISO 8601.
    boot: identity of the running kernel; empty where it is not known.
    namespace: of the process number; containers have namespaces of their own.
    tick: clock tick after boot at which the process started.
    key: different for every owner.
  """

  host: str
  process: int
  started: str
  boot: str
  namespace: str
  tick: str
  key: str

  def __str__(self) -> str:
    return f"process {self.process} on {self.host}, since {self.started}"

  @property
  def visible(self) -> bool:
    """Whether the kernel of this process knows the owner."""
    own = _this_process()
    place = (self.boot, self.namespace)
    return bool(self.boot and self.tick) and place == (own.boot, own.namespace)

  @property
  def runs(self) -> bool:
    """Whether it still runs; to be asked of visible owners only."""
    return _tick(self.process) == self.tick


class FolderLock:
  """The lock on a folder, to be held as a context."""

  def __init__(self, folder: Path, name: str = NAME):
    """Describe the lock; nothing is done before it is entered.

    Args:
      folder: created where it is missing, and removed again if it is still empty at
        the end.
      name: what the files of this lock begin with.
    """
    self._folder, self._name = Path(folder), name
    self._made_folder = False
    self._file = self._folder / name
    self._descriptor = -1
    self._ended = threading.Event()
    self._thread: threading.Thread | None = None

  def __enter__(self) -> "FolderLock":
    """Take the folder.

    Raises:
      LockError: another process owns it, or it is not writable.
    """
    self._made_folder = not self._folder.exists()
    try:
      self._folder.mkdir(parents=True, exist_ok=True)
      while not self._take():
        time.sleep(random.uniform(0.0, 0.5))
      thread = threading.Thread(target=self._beat, name="lock", daemon=True)
      thread.start()
      self._thread = thread
    except OSError as error:
      self._release()
      raise LockError(f"{self._folder} cannot be written: {error.strerror}") from error
    except BaseException:
      self._release()
      raise
    return self

  def __exit__(self, *_: object) -> None:
    self._release()

  def check(self) -> None:
    """Make sure that this process still owns the folder.

    Raises:
      LockError: another process has taken it over, while this one was suspended.
    """
    newest = max(_files(self._folder, self._name), default=None, key=_generation)
    if newest not in (None, self._file):
      raise LockError(
        f"{self._folder} was taken over by {_describe(newest)} while this process was "
        "suspended; this one ends and leaves the folder alone"
      )

  def _take(self) -> bool:
    """Try once; False where somebody else was quicker, which the next try finds."""
    gone = _files(self._folder, self._name)
    for file in gone:
      if _is_alive(file, self._folder):
        raise LockError(
          f"{self._folder} is in use by {_describe(file)}; wait for it, stop it, or "
          "name another folder"
        )
    number = max(map(_generation, gone), default=0) + 1
    mine = self._folder / f"{self._name}-{number}"
    try:
      descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
      return False
    self._file, self._descriptor = mine, descriptor
    text = json.dumps(dataclasses.asdict(_this_process()), indent=2) + "\n"
    os.write(descriptor, text.encode())
    os.fsync(descriptor)
    # Where the folder was empty in between, two may have created different files.
    if set(_files(self._folder, self._name)) - {mine, *gone}:
      self._remove()
      return False
    for file in gone:
      file.unlink(missing_ok=True)
    return True

  def _beat(self) -> None:
    while not self._ended.wait(HEARTBEAT):
      # The open file, not its name: never that of a process that has taken over.
      with contextlib.suppress(OSError):
        os.utime(self._descriptor)

  def _remove(self) -> None:
    if self._descriptor >= 0:
      with contextlib.suppress(OSError):
        self._file.unlink()
      os.close(self._descriptor)
      self._descriptor = -1

  def _release(self) -> None:
    self._ended.set()
    if self._thread is not None:
      self._thread.join()
    self._remove()
    if self._made_folder:
      with contextlib.suppress(OSError):  # it holds something now
        self._folder.rmdir()


def find_owner(folder: Path, name: str = NAME) -> tuple[Owner, float] | None:
  """Read who owns, or owned, a folder, and the time of its last sign of life.

  Returns:
    the owner and seconds since the epoch, or None where no process has the folder.
  """
  newest = max(_files(Path(folder), name), default=None, key=_generation)
  owner, beat = _read(newest) if newest else (None, 0)
  return None if owner is None else (owner, beat / 1e9)


def _files(folder: Path, name: str) -> list[Path]:
  pattern = re.compile(re.escape(name) + r"-\d+")
  try:
    return [file for file in folder.iterdir() if pattern.fullmatch(file.name)]
  except OSError:
    return []


def _generation(file: Path) -> int:
  return int(file.name.rpartition("-")[2])


def _read(file: Path) -> tuple[Owner | None, int]:
  """Return owner and time stamp [ns] of a file; None and 0 where it is not there."""
  try:
    # Opening a file makes NFS ask the server anew.
    with file.open("rb") as stream:
      content, beat = stream.read(), os.fstat(stream.fileno()).st_mtime_ns
  except OSError:
    return None, 0
  try:
    values: dict[str, Any] = json.loads(content)
    return Owner(**values), beat
  except (ValueError, TypeError):  # being written now
    return None, beat


def _describe(file: Path) -> str:
  owner, _ = _read(file)
  return str(owner or "another process")


def _is_alive(file: Path, folder: Path) -> bool:
  """Tell whether the owner that a file names still lives; may watch for a minute."""
  owner, first = _read(file)
  if first and owner is not None and owner.visible:
    return owner.runs
  if first:
    logging.warning(
      "%s belongs to %s; waiting up to %.0f s for a sign of life",
      folder,
      owner or "another process",
      GONE_AFTER,
    )
  end = time.monotonic() + GONE_AFTER
  while first and time.monotonic() < end:
    time.sleep(0.2)
    found, now = _read(file)
    if (found, now) != (owner, first):
      return now != 0  # 0: it has ended and removed its file
  return False


def _this_process() -> Owner:
  try:
    namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (not a path)
  except OSError:
    namespace = ""
  return Owner(
    host=socket.gethostname(),
    process=os.getpid(),
    started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    boot=_content("/proc/sys/kernel/random/boot_id").strip(),
    namespace=namespace,
    tick=_tick(os.getpid()),
    key=uuid.uuid4().hex,
  )


def _tick(process: int) -> str:
  """Return when a process has started; "" where there is none, or its corpse."""
  # The name of the program, in parentheses, may hold anything.
  fields = _content(f"/proc/{process}/stat").rpartition(")")[2].split()
  return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _content(file: str) -> str:
  try:
    return Path(file).read_text(errors="replace")
  except OSError:
    return ""
