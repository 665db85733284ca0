"""Files in, stems out: reading and writing run beside the separation."""

import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from mixit_jax.audio.files import read_audio, write_audio
from mixit_jax.errors import UserError
from mixit_jax.inference import separate
from mixit_jax.inference.separate import separate_files

RATE = 2000


class Halves:
  """A model without computation: both stems are half of the mixture."""

  sample_rate = RATE
  stems = ("left", "right")
  config = SimpleNamespace(num_channels=2)

  def separate_mixture(self, mixture):
    return np.stack([mixture, mixture]) / 2


@pytest.fixture
def songs(tmp_path):
  files = [tmp_path / f"{name}.wav" for name in "abcd"]
  for number, file in enumerate(files):
    write_audio(file, np.full((2, 100 + number), 0.1 * (1 + number)), RATE)
  return files


def test_every_recording_gets_its_own_stems_in_order(songs, tmp_path):
  told = []
  folders = separate_files(Halves(), songs, tmp_path / "out", progress=told.append)
  assert folders == [tmp_path / "out" / file.stem for file in songs]
  assert told == [str(folder) for folder in folders]
  for number, folder in enumerate(folders):
    for stem in Halves.stems:
      audio = read_audio(folder / f"{stem}.wav")
      assert audio.shape == (2, 100 + number)
      np.testing.assert_allclose(audio, 0.05 * (1 + number), rtol=1e-5)


def test_recordings_of_one_name_get_folders_of_their_own(songs, tmp_path):
  write_audio(tmp_path / "a.flac", np.zeros((2, 50)), RATE)
  (tmp_path / "b.wav").write_bytes(b"no audio")
  write_audio(tmp_path / "b.flac", np.zeros((2, 50)), RATE)
  files = [songs[0], tmp_path / "a.flac", songs[1], tmp_path / "b.flac"]
  with pytest.raises(UserError, match=r"1 of 4 not separated: .*b\.wav"):
    separate_files(Halves(), files, tmp_path / "out")
  # A name is not taken by a recording that could not be read.
  names = sorted(folder.name for folder in (tmp_path / "out").iterdir())
  assert names == ["a", "a.flac", "b"]


def test_the_next_is_read_and_the_last_is_written_during_a_separation(
  songs, tmp_path, monkeypatch
):
  read, written = ({file.stem: threading.Event() for file in songs} for _ in range(2))
  main = threading.current_thread()
  read_one, write_one = separate.read_audio, separate.write_audio

  def noted_read(path, *rest):
    assert threading.current_thread() is not main
    read[path.stem].set()
    return read_one(path, *rest)

  def noted_write(path, *rest):
    assert threading.current_thread() is not main
    write_one(path, *rest)
    written[path.parent.name].set()

  class Watching(Halves):
    names = iter("abcd")

    def separate_mixture(self, mixture):
      name = next(self.names)
      if name < "d":
        assert read[chr(ord(name) + 1)].wait(10)
      if name < "c":
        assert not read[chr(ord(name) + 2)].is_set()  # one ahead, no more
      if name > "a":
        assert written[chr(ord(name) - 1)].wait(10)
      return super().separate_mixture(mixture)

  monkeypatch.setattr(separate, "read_audio", noted_read)
  monkeypatch.setattr(separate, "write_audio", noted_write)
  separate_files(Watching(), songs, tmp_path / "out")
  assert all(event.is_set() for event in written.values())


def test_a_failed_write_ends_it_naming_the_file(songs, tmp_path):
  out = tmp_path / "out"
  out.mkdir()
  (out / "b").write_text("a file where a folder should be")
  told = []
  with pytest.raises(UserError, match=r"b/left\.wav") as info:
    separate_files(Halves(), songs, out, progress=told.append)
  assert "\n" not in str(info.value)
  assert told == [str(out / "a")]
  assert not (out / "d").exists()  # nothing is written after it


def test_a_full_disk_is_named(songs, tmp_path, monkeypatch):
  def fail(*_):
    raise soundfile.LibsndfileError(2)  # "System error.", all that libsndfile says

  monkeypatch.setattr(soundfile.SoundFile, "write", fail)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
  with pytest.raises(UserError, match=r"a/left\.wav.*the disk is full"):
    separate_files(Halves(), songs, tmp_path / "out")
  assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_interrupt_leaves_whole_files_only(songs, tmp_path, monkeypatch):
  writing = threading.Event()
  write_one = separate.write_audio

  def slow_write(path, *rest):
    writing.set()
    write_one(path, *rest)

  class Interrupted(Halves):
    calls = 0

    def separate_mixture(self, mixture):
      self.calls += 1
      if self.calls == 2:
        assert writing.wait(10)
        raise KeyboardInterrupt
      return super().separate_mixture(mixture)

  monkeypatch.setattr(separate, "write_audio", slow_write)
  with pytest.raises(KeyboardInterrupt):
    separate_files(Interrupted(), songs, tmp_path / "out")
  files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
  assert sorted(path.name for path in files) == ["left.wav", "right.wav"]
  assert all(read_audio(path).shape == (2, 100) for path in files)
  assert not [t for t in threading.enumerate() if t.name.startswith("one_ahead")]
