"""One process at a time in a folder, whatever became of the one before."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mixit_jax import lock
from mixit_jax.lock import FolderLock, LockError, find_owner

HOLD = """
import sys, time
from pathlib import Path
from mixit_jax.lock import FolderLock
with FolderLock(Path(sys.argv[1])):
  print("taken", flush=True)
  time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def impatient(monkeypatch):
  """Owners elsewhere show signs of life often, and are soon given up."""
  monkeypatch.setattr(lock, "HEARTBEAT", 0.05)
  monkeypatch.setattr(lock, "GONE_AFTER", 0.8)


def hold(folder, seconds=60):
  process = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(folder), str(seconds)],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "taken\n"
  return process


def end(process):
  process.kill()
  process.wait()
  process.stdout.close()


def rewrite(folder, **values):
  """Changes what the lock says of its owner."""
  (file,) = folder.glob(".owner-*")
  file.write_text(json.dumps(json.loads(file.read_text()) | values))


def leave(folder, **values):
  """Leaves the lock of a process that cannot have cleaned up."""
  owner = dataclasses.replace(lock._this_process(), **values)
  folder.mkdir(exist_ok=True)
  (folder / ".owner-7").write_text(json.dumps(dataclasses.asdict(owner)))


def test_a_second_start_is_refused_in_one_line_that_names_the_first(tmp_path):
  first = hold(tmp_path)
  try:
    with pytest.raises(LockError) as info, FolderLock(tmp_path):
      pass
  finally:
    end(first)
  owner, beat = find_owner(tmp_path)
  named = f"process {first.pid} on {owner.host}, since {owner.started}"
  assert str(info.value).startswith(f"{tmp_path} is in use by {named};")
  assert "\n" not in str(info.value)
  assert abs(beat - time.time()) < 60


def test_a_killed_owner_is_replaced_at_once(tmp_path):
  end(hold(tmp_path))
  begun = time.monotonic()
  with FolderLock(tmp_path):
    assert find_owner(tmp_path)[0].process == os.getpid()
  assert time.monotonic() - begun < 5
  assert list(tmp_path.iterdir()) == []


def test_a_corpse_whose_parent_has_not_looked_yet_is_no_owner(tmp_path):
  process = hold(tmp_path)
  process.send_signal(signal.SIGKILL)
  time.sleep(0.5)  # not waited for: the kernel still lists it
  with FolderLock(tmp_path):
    pass
  end(process)


def test_a_process_that_got_the_number_of_the_owner_deceives_nobody(tmp_path):
  leave(tmp_path, tick="1")  # this very number, started at another time
  with FolderLock(tmp_path):
    pass


@pytest.mark.parametrize(
  "elsewhere", [{"boot": "another"}, {"namespace": "pid:[1]"}, {"boot": ""}]
)
@pytest.mark.usefixtures("impatient")
def test_elsewhere_only_a_sign_of_life_counts(tmp_path, elsewhere, monkeypatch, caplog):
  # The owner is this process, seen from a container or host that cannot see it.
  with FolderLock(tmp_path) as held:
    rewrite(tmp_path, **elsewhere)
    with pytest.raises(LockError, match="in use"), FolderLock(tmp_path):
      pass
    held._ended.set()  # its heart stands still
    with FolderLock(tmp_path):
      with pytest.raises(LockError, match="was taken over by process"):
        held.check()
      assert len(list(tmp_path.iterdir())) == 1
  assert "waiting up to" in caplog.text


def test_an_owner_that_only_sleeps_keeps_its_folder(tmp_path):
  process = hold(tmp_path)
  process.send_signal(signal.SIGSTOP)
  try:
    with pytest.raises(LockError), FolderLock(tmp_path):
      pass
  finally:
    end(process)


@pytest.mark.usefixtures("impatient")
def test_the_lock_of_a_process_that_was_killed_while_it_wrote_it_is_replaced(tmp_path):
  (tmp_path / ".owner-3").write_text("")
  with FolderLock(tmp_path) as held:
    held.check()
    assert [file.name for file in tmp_path.iterdir()] == [".owner-4"]


def test_of_many_that_take_over_at_once_one_succeeds(tmp_path):
  for _ in range(5):
    leave(tmp_path, tick="1")
    processes = [
      subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
      for _ in range(6)
    ]
    said = [process.communicate() for process in processes]
    assert [out for out, _ in said].count("taken\n") == 1, said
    assert sum("is in use by process" in error for _, error in said) == 5, said


def test_two_that_meet_in_an_empty_folder_do_not_both_stay(tmp_path):
  held = []
  barrier = threading.Barrier(4)

  def take():
    barrier.wait()
    try:
      one = FolderLock(tmp_path)
      one.__enter__()
    except LockError:
      return
    held.append(one)

  for _ in range(20):
    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert len(held) == 1
    held.pop().__exit__()


def test_a_folder_that_was_made_for_nothing_is_removed_again(tmp_path):
  with FolderLock(tmp_path / "a" / "run"):
    assert (tmp_path / "a" / "run").is_dir()
  assert not (tmp_path / "a" / "run").exists()
  with FolderLock(tmp_path / "run"):
    (tmp_path / "run" / "kept").touch()
  assert [file.name for file in (tmp_path / "run").iterdir()] == ["kept"]


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(lock.os, "write", full)
  with (
    pytest.raises(LockError, match="cannot be written: No space left"),
    FolderLock(tmp_path),
  ):
    pass
  assert list(tmp_path.iterdir()) == []


def test_without_an_owner_there_is_none(tmp_path):
  assert find_owner(tmp_path) is None
  assert find_owner(Path("no such folder")) is None
