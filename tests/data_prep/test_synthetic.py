import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep.synthetic import __main__ as command
from data_prep.synthetic import songs
from mixit_jax.audio.files import find_audio, read_audio
from mixit_jax.data.songs import find_songs, read_song
from mixit_jax.errors import UserError

REPOSITORY = Path(songs.__file__).parent.parent.parent
SIZES = (
  "--sample-rate=8000",
  "--train-songs=2",
  "--valid-songs=1",
  "--test-songs=1",
  "--song-seconds=3",
  "--mixes=3",
  "--mp3-mixes=1",
  "--mix-seconds=2",
)


def _make(out, *flags):
  command.main([f"--out={out}", *SIZES, "--workers=1", *flags])


def _files(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


@pytest.fixture(scope="module")
def music(tmp_path_factory):
  out = tmp_path_factory.mktemp("synthetic") / "music"
  _make(out)
  return out


def test_songs_lie_as_in_musdb(music):
  for split, count in (("train", 2), ("valid", 1), ("test", 1)):
    found = find_songs(music / split)
    assert [song.name for song in found] == ["song-01", "song-02"][:count]
    for song in found:
      assert {path.name for path in song.iterdir()} == {
        "vocals.wav",
        "drums.wav",
        "bass.wav",
        "other.wav",
        "mixture.wav",
      }
      assert read_song(song, sample_rate=8000).references.shape == (4, 2, 24000)


def test_the_mixture_is_exactly_the_sum_of_the_stems(music):
  for song in find_songs(music / "train"):
    stems = [
      soundfile.read(song / f"{stem}.wav", dtype="int16")[0].astype(int)
      for stem in ("vocals", "drums", "bass", "other")
    ]
    mixture = soundfile.read(song / "mixture.wav", dtype="int16")[0]
    np.testing.assert_array_equal(mixture, sum(stems))


def test_mixes_are_flac_and_a_few_mp3(music):
  mixes = find_audio(music / "unlabeled").files
  assert [mix.name for mix in mixes] == ["mix-001.mp3", "mix-002.flac", "mix-003.flac"]
  for mix in mixes:
    audio = read_audio(mix)
    assert soundfile.info(mix).samplerate == 8000
    assert audio.shape[1] == pytest.approx(16000, abs=2500)
    assert 0.1 < np.abs(audio).max() < 1.1


def test_no_two_files_hold_the_same_music(music):
  splits = ("train", "valid", "test")
  files = [song / "mixture.wav" for s in splits for song in find_songs(music / s)]
  files += find_audio(music / "unlabeled").files
  starts = {read_audio(path)[:, :8000].tobytes() for path in files}
  assert len(starts) == len(files)


def test_the_seed_decides_and_the_workers_do_not(music, tmp_path):
  _make(tmp_path / "again", "--workers=2")
  assert _files(tmp_path / "again") == _files(music)
  _make(tmp_path / "other", "--seed=1")
  other = _files(tmp_path / "other")
  assert all(other[name] != content for name, content in _files(music).items())


class Killed(BaseException):
  """Ends everything, as a signal that no code can handle."""


def test_a_killed_run_goes_on_where_it_stopped(music, tmp_path, monkeypatch, capsys):
  out, written = tmp_path / "music", []

  def write_audio(path, *arguments):
    if len(written) == 7:  # two of the five files of the second song are there
      raise Killed
    written.append(path)
    songs_write_audio(path, *arguments)

  songs_write_audio = songs.write_audio
  monkeypatch.setattr(songs, "write_audio", write_audio)
  with pytest.raises(Killed):
    _make(out)
  monkeypatch.undo()
  assert {song.name for song in (out / "train").iterdir()} == {
    "song-01",
    ".song-02.tmp",
  }
  (out / "train/.song-02.tmp/half.wav").touch()
  first = out / "train/song-01/vocals.wav"
  made = first.stat().st_mtime_ns
  _make(out)
  assert "(1 already existed)" in capsys.readouterr().out
  assert first.stat().st_mtime_ns == made
  assert _files(out) == _files(music)


def test_missing_mixes_are_made_again(music, capsys):
  before = _files(music)
  (music / "unlabeled/mix-002.flac").unlink()
  _make(music)
  assert _files(music) == before
  assert "(6 already existed)" in capsys.readouterr().out


def test_other_flags_are_refused(music):
  with pytest.raises(UserError, match="seed is 0 there, 5 now"):
    _make(music, "--seed=5")


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--mp3-mixes=4", "4 of 3 mixes cannot be MP3"),
    ("--sample-rate=10000", "use --mp3-mixes=0"),
    ("--seed=-1", "0 or more"),
    ("--mixes=x", "found 'x'"),
  ],
)
def test_senseless_flags_are_refused(flag, message, capsys):
  with pytest.raises(SystemExit):
    command.parse_flags(["--out=x", *SIZES, flag])
  assert message in capsys.readouterr().err


def test_test_songs_can_have_the_instruments_of_the_others(music, tmp_path):
  _make(tmp_path / "heard", "--test-instruments=heard")
  heard, unheard = _files(tmp_path / "heard"), _files(music)
  differing = {name for name, content in unheard.items() if heard[name] != content}
  assert {name.split("/")[0] for name in differing} == {"test", "preparation.json"}


def test_test_songs_can_take_turns(music, tmp_path):
  few = ("--train-songs=0", "--valid-songs=0", "--mixes=0", "--mp3-mixes=0")
  _make(tmp_path, *few, "--test-songs=3", "--test-instruments=both")
  names = [song.name for song in find_songs(tmp_path / "test")]
  assert names == ["heard-01", "unheard-01", "unheard-02"]
  # Each turn counts the songs, whatever they are called.
  mixture = "test/song-01/mixture.wav"
  first = (tmp_path / "test/unheard-01/mixture.wav").read_bytes()
  assert first == _files(music)[mixture]


def test_asking_for_nothing_is_an_error(tmp_path):
  flags = ["--train-songs=0", "--valid-songs=0", "--test-songs=0"]
  with pytest.raises(UserError, match="no song requested"):
    _make(tmp_path / "x", *flags, "--mixes=0", "--mp3-mixes=0")


def test_ctrl_c_ends_all_processes_without_a_traceback(tmp_path):
  out = tmp_path / "music"
  process = subprocess.Popen(
    [sys.executable, "-m", "data_prep.synthetic", f"--out={out}", "--workers=2"],
    cwd=REPOSITORY,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  try:
    while not list(out.rglob("*.wav")):
      assert process.poll() is None
      time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    # Returns when no process holds the error stream any more.
    _, errors = process.communicate(timeout=60)
  finally:
    process.kill()
  assert process.returncode == 130
  assert errors == "interrupted: run the same command again to resume\n"
