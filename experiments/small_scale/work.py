"""How a task is done: by the project's own commands, each in a process of its own.

Every command resumes itself, so that a task that was killed is simply done again.
"""

import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from experiments.small_scale.grid import (
  Finetune,
  Labels,
  Mixes,
  Music,
  Pretrain,
  Splitting,
  Task,
)
from mixit_jax.console import STOPPED
from mixit_jax.data.songs import find_songs, usual_stems
from mixit_jax.errors import UserError
from mixit_jax.files import read_json

SCORES = ("usdr_mdx", "usdr_per_channel", "csdr")  # of every stem, in dB
TRAINING = Path(__file__).with_name("training.py")
# Threads of one training wait for each other; trainings beside each other do not.
SINGLE = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
THREADS = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # the first is XLA's


class StoppedError(Exception):
  """The work was asked to stop."""


class Worker:
  """Does tasks in a folder."""

  def __init__(
    self,
    folder: Path,
    songs: str = "songs",
    own: Mapping[str, Path] | None = None,
    threads: int = 1,
  ):
    """Take the folder that holds data, runs and logs.

    Args:
      folder: of the work.
      songs: where train/, valid/ and test/ of the labeled songs lie in it.
      own: folders of the user's, by the names of the tasks that would make such music.
      threads: of each command.
    """
    self.folder = folder
    self.own = own or {}
    self.songs = folder / ("songs" if "songs" in self.own else songs)
    self.environment = dict.fromkeys(THREADS, str(threads))
    if threads == 1:
      self.environment |= SINGLE
    self.stopping = threading.Event()
    self._processes: set[subprocess.Popen[bytes]] = set()
    self._lock = threading.Lock()

  def stop(self) -> None:
    """Ask all running commands to save and end."""
    self.stopping.set()
    with self._lock:
      for process in self._processes:
        process.send_signal(signal.SIGTERM)

  def do(self, task: Task) -> dict[str, Any] | None:
    """Do a task and return its results, ready for JSON; None for prepared data.

    Raises:
      UserError: a command failed; the message names its log.
      StoppedError: `stop` was called.
    """
    match task:
      case Music():
        self._music(task)
      case Mixes():
        self._mixes(task)
      case Labels():
        self._labels(task)
      case Pretrain():
        return self._pretrain(task)
      case Finetune():
        return self._finetune(task)
      case Splitting():
        return self._splitting(task)
    return None

  def is_prepared(self, task: Task) -> bool:
    """Tell whether a task has only to make data, and has.

    Raises:
      UserError: the folder of the work holds other music than the user's.
    """
    match task:
      case Music():
        place, own = self.folder / task.name, self.own.get(task.name)
        if own is None:
          return (place / ".finished").exists()
        if place.exists() and place.resolve() != own.resolve():
          raise UserError(
            f"{place} is other music than {own}; give another folder with --out"
          )
        return place.exists()
      case Mixes() | Labels():
        return (self.folder / task.name / "shards" / "manifest.json").exists()
    return False

  def _music(self, task: Music) -> None:
    out = self.folder / task.name
    if own := self.own.get(task.name):
      self.folder.mkdir(parents=True, exist_ok=True)
      out.symlink_to(own.resolve())
      return
    # Nothing is ever made in a folder of the user's.
    if out.is_symlink() or not task.command:
      known = f" as before, {out.readlink()}" if out.is_symlink() else ""
      raise UserError(f"{task.name}: give --{task.name}=DIR, your own music{known}")
    self._run(task, [task.command, f"--out={out}", *_flags(task.flags)])
    (out / ".finished").touch()

  def _mixes(self, task: Mixes) -> None:
    music = self.folder / "unlabeled"
    if "unlabeled" not in self.own:
      music /= "unlabeled"
    # Files, or folders of them. What is hidden is no music.
    mixes = sorted(p for p in music.iterdir() if not p.name.startswith("."))
    chosen = self.folder / task.name / "audio"
    _link(chosen, mixes[: task.count])
    out = chosen.with_name("shards")
    flags = [f"--audio={chosen}", f"--out={out}", *_flags(task.flags)]
    self._run(task, ["data_prep.fma", *flags, "--workers=1"])

  def _labels(self, task: Labels) -> None:
    stems = usual_stems(self.songs / "train")
    songs = find_songs(self.songs / "train", stems)
    if task.count > len(songs):
      raise UserError(f"{task.name}: there are {len(songs)} labeled songs")
    # The next songs for the next seed, from the first on after the last.
    first = task.seed * task.count
    cycle = itertools.islice(itertools.cycle(songs), first, first + task.count)
    chosen = self.folder / task.name / "songs"
    _link(chosen / "train", list(cycle))
    _link(chosen / "valid", find_songs(self.songs / "valid", stems))
    out = chosen.with_name("shards")
    flags = [f"--musdb={chosen}", f"--out={out}", *_flags(task.flags)]
    self._run(task, ["data_prep.musdb", *flags, "--workers=1"])

  def _pretrain(self, task: Pretrain) -> dict[str, Any]:
    run = self.folder / task.name / "run"
    seconds = self._train(
      task,
      run,
      f"pretrain-{task.size}",
      {
        "data.shards": self.folder / task.mixes / "shards",
        "data.seed": task.seed,
        "run.seed": task.seed,
        **task.config,
      },
    )
    return {"seconds": seconds, "valid": _validations(run)}

  def _finetune(self, task: Finetune) -> dict[str, Any]:
    folder = self.folder / task.name
    config: dict[str, Any] = {
      "data.shards": self.folder / task.labels / "shards",
      "data.seed": task.seed,
      "run.seed": task.seed,
      "model.num_sources": len(usual_stems(self.songs / "train")),
      **task.config,
    }
    if task.start:
      config["init.run"] = self.folder / task.start / "run"
    seconds = self._train(task, folder / "run", f"finetune-{task.size}", config)
    scores = folder / "scores.json"
    songs = f"--songs={self.songs / 'test'}"
    evaluate = ["evaluate", str(folder / "run"), songs, f"--json={scores}"]
    self._run(task, ["mixit_jax.cli", *evaluate])
    evaluation = read_json(scores)
    result = {
      "seconds": seconds,
      "valid": _validations(folder / "run"),
      "mixture": evaluation["mixture"]["usdr_mdx"],
      "songs": [
        {key: song[key] for key in ("name", *SCORES)} for song in evaluation["songs"]
      ],
    }
    # Checkpoints of hundreds of cells would fill the disk; the scores stay.
    shutil.rmtree(folder / "run" / "checkpoints", ignore_errors=True)
    return result

  def _splitting(self, task: Splitting) -> dict[str, Any]:
    out = self.folder / task.name / "splitting.json"
    self._run(
      task,
      [
        "experiments.small_scale.splitting",
        f"--run={self.folder / task.start / 'run'}",
        f"--weights={task.weights}",
        f"--pairs={task.pairs}",
        f"--count={task.count}",
        f"--json={out}",
        *_flags(task.flags),
      ],
    )
    return read_json(out)

  def _train(
    self, task: Task, run: Path, config: str, changes: Mapping[str, Any]
  ) -> float:
    """Train to the end and return the seconds of this life."""
    begun = time.monotonic()
    keys = [f"--config.{key}={_text(value)}" for key, value in changes.items()]
    files = [f"--config={TRAINING}:{config}", f"--workdir={run}"]
    self._run(task, ["mixit_jax.main", *files, *keys])
    return round(time.monotonic() - begun, 1)

  def _run(self, task: Task, command: Sequence[str]) -> None:
    """Run a module of Python in a process of its own; its lines go to a log.

    One of a life before, which may have outlived it, is waited for.
    """
    log = self.folder / "logs" / f"{task.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
      self._lock_log(stream)
      with self._lock:
        if self.stopping.is_set():
          raise StoppedError
        process = subprocess.Popen(
          [sys.executable, "-m", *command],
          stdout=stream,
          stderr=stream,
          stdin=subprocess.DEVNULL,
          env=os.environ | self.environment,
        )
        self._processes.add(process)
      try:
        status = process.wait()
      finally:
        with self._lock:
          self._processes.discard(process)
    if self.stopping.is_set() and status:
      raise StoppedError
    if status:
      last = log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
      raise UserError(
        f"{task.name}: {command[0]} ended with status {status}"
        f"{' (it was stopped)' if status == STOPPED else ''}: {last}; see {log}"
      )

  def _lock_log(self, stream: IO[bytes]) -> None:
    """Lock a log. A command holds the lock as long as it lives, through its output."""
    while True:
      try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        if self.stopping.wait(0.2):
          raise StoppedError from None
      except OSError:  # no locks on this file system: that of the run must do
        return
      else:
        return


def _link(folder: Path, places: Sequence[Path]) -> None:
  """Make a folder with links to files or folders."""
  folder.mkdir(parents=True, exist_ok=True)
  for place in places:
    link = folder / place.name
    if not link.is_symlink():
      link.symlink_to(place.resolve())


def _flags(flags: Mapping[str, Any]) -> list[str]:
  return [f"--{name}={value}" for name, value in flags.items()]


def _text(value: Any) -> str:
  return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _validations(run: Path) -> list[list[float]]:
  """Return step and loss of every validation, the latest of each step."""
  losses = {}
  for line in (run / "metrics.jsonl").read_text("utf-8").splitlines():
    entry = json.loads(line)
    if entry["group"] == "valid" and entry.get("loss") is not None:
      losses[entry["step"]] = [
        entry["step"],
        entry["loss"],
        entry.get("improvement_db"),
      ]
  return [losses[step] for step in sorted(losses)]
