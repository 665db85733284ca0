import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import fma, musdb
from data_prep.sampled import __main__ as command
from data_prep.sampled import fluidsynth
from data_prep.sampled.fonts import FOLDERS, TEST_FONTS
from data_prep.sampled.songs import SampledSong
from data_prep.synthetic.composition import Part
from data_prep.synthetic.instruments import Note, Timbre
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.songs import find_songs
from mixit_jax.errors import UserError

RATE = 8000
SIZES = (
  f"--sample-rate={RATE}",
  "--train-songs=1",
  "--valid-songs=1",
  "--test-songs=1",
  "--song-seconds=2",
  "--mixes=2",
  "--mp3-mixes=1",
  "--mix-seconds=2",
  "--fonts=TimGM6mb.sf2",  # the smallest
)


@pytest.fixture(scope="module")
def font():
  pytest.importorskip("mido")
  found = [path for folder in FOLDERS for path in folder.glob(TEST_FONTS[0])]
  if not found or shutil.which("fluidsynth") is None:
    pytest.skip("needs fluidsynth and timgm6mb-soundfont")
  return found[0]


def make(out, *flags):
  command.main([f"--out={out}", *SIZES, "--workers=1", *flags])


def contents(folder):
  return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def music(font, tmp_path_factory):
  out = tmp_path_factory.mktemp("sampled") / "music"
  make(out)
  return out


def song(font, seconds=2.0):
  return SampledSong(Path("unused"), (0, 0, 0), seconds, RATE, "full", font)


def test_songs_are_laid_out_and_prepared_as_all_others(music, tmp_path):
  for split in ("train", "valid", "test"):
    (place,) = find_songs(music / split)
    stems = [
      soundfile.read(place / f"{stem}.wav", dtype="int16")[0].astype(int)
      for stem in ("vocals", "drums", "bass", "other")
    ]
    mixture = soundfile.read(place / "mixture.wav", dtype="int16")[0]
    np.testing.assert_array_equal(mixture, sum(stems))
    assert all(np.abs(stem).max() > 100 for stem in stems)
  shape = [f"--sample-rate={RATE}", "--seconds=1", "--hop=1", "--workers=1"]
  fma.main([f"--audio={music}/unlabeled", f"--out={tmp_path}/fma", *shape])
  musdb.main([f"--musdb={music}", f"--out={tmp_path}/musdb", *shape])
  for name in ("fma", "musdb"):
    assert Manifest.load(tmp_path / name).splits["train"]


def test_seed_and_font_decide_and_nothing_else(music, tmp_path):
  make(tmp_path / "again")
  assert contents(tmp_path / "again") == contents(music)
  with pytest.raises(UserError, match="seed is 0 there, 5 now"):
    make(music, "--seed=5")


@pytest.mark.parametrize("program", ["33", "0"])
def test_notes_sound_when_and_as_high_as_they_are_written(font, program):
  part = Part("bass", program, 40, [Note(1.0, 0.5, 57, 1.0)])
  timbre = Timbre(RATE, 40, np.random.default_rng(0), 0.5, 0.5, 0.0, 0.5)
  sound = song(font).play(part, timbre, 2 * RATE)
  assert sound.shape == (2, 2 * RATE)
  start = int(0.98 * RATE)
  assert np.abs(sound[:, :start]).max() < 0.01 * np.abs(sound).max()
  assert np.abs(sound[:, start : int(1.1 * RATE)]).max() > 0.1 * np.abs(sound).max()
  spectrum = np.abs(np.fft.rfft(sound[0, start : start + RATE // 2]))
  peaks = np.flatnonzero(spectrum > 0.3 * spectrum.max()) * 2.0
  # Pitch 57 is 220 Hz: all strong partials are multiples of it.
  assert np.abs(peaks / 220 - np.round(peaks / 220)).max() < 0.03


def test_very_short_songs_are_songs(font):
  stems = song(font, 0.5).stems()
  assert tuple(stems) == ("vocals", "drums", "bass", "other")
  for sound in stems.values():
    assert sound.shape == (2, RATE // 2)
    assert np.isfinite(sound).all()


def test_a_font_that_cannot_be_read_is_an_error_of_one_line(font, tmp_path):
  broken = tmp_path / "broken.sf2"
  broken.write_bytes(font.read_bytes()[:5000])
  with pytest.raises(UserError, match=r"broken.sf2: .*") as raised:
    song(broken).stems()
  assert "\n" not in str(raised.value)


def test_test_songs_are_named_after_their_fonts(font, tmp_path):
  other = tmp_path / "other.sf2"
  other.symlink_to(font)
  few = ("--train-songs=0", "--valid-songs=0", "--mixes=0", "--mp3-mixes=0")
  fonts = f"--test-fonts={font},{other}"
  make(tmp_path / "music", *few, "--test-songs=3", fonts)
  names = [song.name for song in find_songs(tmp_path / "music/test")]
  assert names == [f"{font.stem}-01", f"{font.stem}-02", "other-01"]
  with pytest.raises(UserError, match="two have the same name"):
    make(tmp_path / "same", *few, "--test-songs=3", f"--test-fonts={font},{font}")


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
  monkeypatch.setattr(fluidsynth, "PROGRAM", "no-such-program")
  with pytest.raises(UserError, match="no-such-program is not installed: apt install"):
    make(tmp_path / "music")
  monkeypatch.setattr(fluidsynth, "PROGRAM", "ls")
  monkeypatch.setitem(sys.modules, "mido", None)
  with pytest.raises(UserError, match="songs on sampled instruments need"):
    make(tmp_path / "music")
  assert not (tmp_path / "music").exists()
