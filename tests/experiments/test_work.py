"""Music that a grid's command makes, and music of the user's own."""

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments.small_scale.__main__ import find_grid, main
from experiments.small_scale.grid import Mixes, Music, read_grid
from experiments.small_scale.work import StoppedError, Worker
from mixit_jax.errors import UserError


class NotedWorker(Worker):
  """Notes the commands that it would run."""

  def __init__(self, *arguments):
    super().__init__(*arguments)
    self.commands = []

  def _run(self, task, command):
    self.commands.append(command)


@pytest.fixture
def own(tmp_path):
  folder = tmp_path / "own"
  for name in ("b.mp3", "a.mp3", ".hidden", "album/c.mp3"):
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).touch()
  return folder


MIXES = Music("unlabeled", (), "data_prep.synthetic", {"seed": 1})


def test_music_is_made_once(tmp_path):
  worker = NotedWorker(tmp_path / "out")
  (tmp_path / "out/unlabeled").mkdir(parents=True)
  assert not worker.is_prepared(MIXES)
  worker.do(MIXES)
  out = tmp_path / "out/unlabeled"
  assert worker.commands == [["data_prep.synthetic", f"--out={out}", "--seed=1"]]
  assert worker.is_prepared(MIXES)


@pytest.mark.parametrize(
  ("count", "chosen"), [(None, {"a.mp3", "album", "b.mp3"}), (1, {"a.mp3"})]
)
def test_own_music_is_linked_and_nothing_is_written_to_it(tmp_path, own, count, chosen):
  before = sorted(own.rglob("*"))
  worker = NotedWorker(tmp_path / "out", "songs/guitar", {"unlabeled": own})
  worker.do(MIXES)
  assert worker.is_prepared(MIXES)
  assert not worker.commands
  worker.do(Mixes("mixes", ("unlabeled",), count, {}))
  assert {p.name for p in (tmp_path / "out/mixes/audio").iterdir()} == chosen
  assert sorted(own.rglob("*")) == before
  assert worker.songs == tmp_path / "out/songs/guitar"  # those are the grid's
  assert (
    NotedWorker(tmp_path, "songs/guitar", {"songs": own}).songs == tmp_path / "songs"
  )


def test_a_folder_of_the_work_has_one_music(tmp_path, own):
  out = tmp_path / "out"
  NotedWorker(out, "songs", {"unlabeled": own}).do(MIXES)
  (tmp_path / "other").mkdir()
  other = NotedWorker(out, "songs", {"unlabeled": tmp_path / "other"})
  with pytest.raises(
    UserError, match=r"unlabeled is other music than .*other; .*--out"
  ):
    other.is_prepared(MIXES)
  # The flag left out: the command would write into the user's folder.
  without = NotedWorker(out)
  assert not without.is_prepared(MIXES)
  with pytest.raises(UserError, match=rf"--unlabeled=DIR, .* as before, {own}"):
    without.do(MIXES)
  assert not without.commands


def test_a_grid_without_a_command_needs_own_music(tmp_path, own):
  music = next(t for t in read_grid(find_grid("own")).tasks if isinstance(t, Music))
  with pytest.raises(UserError, match=r"songs: give --songs=DIR, your own music$"):
    NotedWorker(tmp_path).do(music)
  with pytest.raises(UserError, match="nowhere: no such folder"):
    main([f"--out={tmp_path}", "--grid=own", "--songs=nowhere"])


def test_a_link_of_own_music_may_be_relative(tmp_path, own, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert main(["--out=out", "--grid=own", "--songs=own", "--list"]) == 0
  worker = NotedWorker(
    tmp_path / "out", "songs", {"unlabeled": own.relative_to(tmp_path)}
  )
  worker.do(MIXES)
  monkeypatch.chdir("/")
  assert (tmp_path / "out/unlabeled").samefile(own)


@pytest.fixture
def orphan(tmp_path):
  """A command of a life that ended: it holds the lock of its log alone."""
  log = tmp_path / "logs/unlabeled.txt"
  log.parent.mkdir()
  wait = [sys.executable, "-c", "input()"]
  with log.open("ab") as stream:
    fcntl.flock(stream, fcntl.LOCK_EX)
    process = subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=stream)
  with process:
    yield process
    process.kill()


def test_a_command_that_outlived_its_worker_is_waited_for(tmp_path, orphan):
  worker = Worker(tmp_path)
  done = threading.Thread(target=worker._run, args=(MIXES, ["this"]))
  done.start()
  done.join(1)
  assert done.is_alive()
  orphan.communicate(b"\n")
  done.join(60)
  assert not done.is_alive()
  assert "Beautiful is better" in (tmp_path / "logs/unlabeled.txt").read_text()


def test_a_worker_that_waits_can_be_stopped(tmp_path, orphan):
  worker = Worker(tmp_path)
  threading.Timer(0.3, worker.stop).start()
  with pytest.raises(StoppedError):
    worker._run(MIXES, ["this"])
  assert orphan.poll() is None


COUNT = """
from pathlib import Path
import jax
jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))
names = [task.read_text() for task in Path("/proc/self/task").glob("*/comm")]
print(sum("XLAEigen" in name for name in names))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="shows no threads")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_command_computes_with_as_many_threads(tmp_path, monkeypatch, threads):
  (tmp_path / "count_threads.py").write_text(COUNT)
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  Worker(tmp_path, threads=threads)._run(MIXES, ["count_threads"])
  assert int((tmp_path / "logs/unlabeled.txt").read_text()) == threads
