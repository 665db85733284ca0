import os

import pytest

from mixit_jax.audio.files import find_audio
from mixit_jax.audio.walk import walk


def touch(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()


def names(folder, paths):
  return [path.relative_to(folder).as_posix() for path in paths]


def test_everything_is_found_or_counted(tmp_path):
  touch(
    tmp_path, "b/2.mp3", "a.wav", "b/cover.jpg", "b/._2.mp3", ".git/x.wav", "README"
  )
  (tmp_path / "folder.mp3").mkdir()
  found = walk(tmp_path, {".wav", ".mp3"})
  assert names(tmp_path, found.files) == ["a.wav", "b/2.mp3"]
  assert (found.others, found.hidden) == ({".jpg": 1, "": 1}, 2)
  assert found.absent == found.repeated == []


def test_links_are_followed_once_and_loops_are_seen(tmp_path):
  music, other = tmp_path / "music", tmp_path / "other disk"
  touch(music, "own/1.mp3")
  touch(other, "2.mp3", "more/3.mp3")
  (music / "aaa").symlink_to(music / "own")
  (music / "linked").symlink_to(other)
  (music / "linked again").symlink_to(other)
  (music / "own/loop").symlink_to(music)
  (other / "more/loop").symlink_to(other)
  (music / "4.mp3").symlink_to(other / "2.mp3")
  found = walk(music, {".mp3"})
  expected = ["4.mp3", "linked/2.mp3", "linked/more/3.mp3", "own/1.mp3"]
  assert names(music, found.files) == expected
  assert found.absent == []
  reasons = dict(found.repeated)
  assert set(names(music, reasons)) == {
    "aaa",
    "linked again",
    "linked/more/loop",
    "own/loop",
  }
  assert reasons[music / "aaa"] == f"leads to {music / 'own'}, which is counted"


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
  touch(tmp_path, "a.mp3", "locked/b.mp3")
  (tmp_path / "gone.mp3").symlink_to(tmp_path / "nowhere")
  (tmp_path / "ring.mp3").symlink_to(tmp_path / "ring.mp3")
  os.mkfifo(tmp_path / "pipe.mp3")
  scan = os.scandir

  def refuse(folder):  # root may read everything
    if folder == tmp_path / "locked":
      raise PermissionError(13, "Permission denied")
    return scan(folder)

  monkeypatch.setattr(os, "scandir", refuse)
  found = find_audio(tmp_path)
  assert names(tmp_path, found.files) == ["a.mp3"]
  assert {path.name: reason for path, reason in found.absent} == {
    "gone.mp3": "is a link that leads nowhere",
    "locked": "cannot be read: Permission denied",
    "pipe.mp3": "is not a file",
    "ring.mp3": "cannot be followed: Too many levels of symbolic links",
  }
  monkeypatch.setattr(os, "scandir", lambda folder: refuse(tmp_path / "locked"))
  with pytest.raises(PermissionError):
    walk(tmp_path, {".mp3"})
