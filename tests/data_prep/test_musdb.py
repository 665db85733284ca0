import shutil

import numpy as np
import pytest
import soundfile
from music_files import RATE, noise, write

from data_prep import musdb
from mixit_jax.audio.pcm import to_float32
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.records import open_shards
from mixit_jax.data.songs import find_songs, read_song
from mixit_jax.errors import UserError
from mixit_jax.stems import STEMS

SIZES = (f"--sample-rate={RATE}", "--seconds=2", "--hop=1", "--workers=1")


def _write_song(folder, seed, suffix="wav", seconds=5):
  stems = {stem: noise((seed, n), seconds) for n, stem in enumerate(STEMS)}
  for stem, audio in {**stems, "mixture": sum(stems.values())}.items():
    write(folder / f"{stem}.{suffix}", audio.clip(-0.9, 0.9))


def _prepare(folder, out, *flags):
  musdb.main([f"--musdb={folder}", f"--out={out}", *SIZES, *flags])
  return Manifest.load(out)


def _files(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


@pytest.fixture
def songs(tmp_path):
  folder = tmp_path / "musdb18hq"
  _write_song(folder / "train/Actions - One Minute Smile", 1)
  _write_song(folder / "train/Dear, You - Comma", 2, "flac")
  _write_song(folder / "train/Third - Song", 3)
  _write_song(folder / "test/Held - Out", 4)
  return folder


def test_training_songs_become_segments_per_stem(songs, tmp_path, capsys):
  out = tmp_path / "out"
  manifest = _prepare(songs, out)
  assert (manifest.kind, manifest.seconds, manifest.hop_seconds) == ("musdb", 2.0, 1.0)
  assert set(manifest.splits) == {"train"}
  assert set(manifest.splits["train"]) == set(STEMS)
  for number, stem in enumerate(STEMS):
    source = open_shards(out, "train", stem)
    segments = [source[index] for index in range(len(source))]
    assert {s.track for s in segments} == {"Dear, You - Comma", "Third - Song"}
    assert sorted({s.start for s in segments}) == [0.0, 1.0, 2.0, 3.0]
    for segment in segments:
      seed = 3 if segment.track.startswith("Third") else 2
      start = round(segment.start * RATE)
      expected = noise((seed, number), 5)[:, start : start + 2 * RATE]
      np.testing.assert_array_equal(to_float32(segment.audio), expected)
  said = capsys.readouterr()
  assert "of 2 training songs: bass 8, drums 8, vocals 8, other 8" in said.out
  assert "1 validation songs; left out: 0 silent stems, 0 broken files" in said.out
  assert said.err == ""


def test_validation_songs_stay_whole_and_can_be_read(songs, tmp_path):
  out = tmp_path / "out"
  manifest = _prepare(songs, out)
  assert manifest.songs == {"valid": ["valid/Actions - One Minute Smile"]}
  [folder] = find_songs(out / "valid")
  song = read_song(folder, sample_rate=RATE)
  original = read_song(songs / "train/Actions - One Minute Smile", sample_rate=RATE)
  np.testing.assert_array_equal(song.references, original.references)
  np.testing.assert_array_equal(song.mixture, original.mixture)
  assert soundfile.info(folder / "bass.flac").subtype == "PCM_16"
  assert not (out / "test").exists()


def test_named_songs_validate_even_with_a_comma(songs, tmp_path):
  flags = ("--valid-songs=Dear, You - Comma", "--valid-songs=Third - Song")
  manifest = _prepare(songs, tmp_path / "out", *flags)
  assert manifest.songs["valid"] == ["valid/Dear, You - Comma", "valid/Third - Song"]
  flags = ("--valid-songs=Actions - One Minute Smile, Third - Song",)
  manifest = _prepare(songs, tmp_path / "two", *flags)
  assert manifest.songs["valid"] == [
    "valid/Actions - One Minute Smile",
    "valid/Third - Song",
  ]


def test_a_folder_valid_comes_first(songs, tmp_path):
  _write_song(songs / "valid/Mine", 5)
  manifest = _prepare(songs, tmp_path / "out")
  assert manifest.songs["valid"] == ["valid/Mine"]
  tracks = open_shards(tmp_path / "out", "train", "bass")
  assert len(tracks) == 3 * 4
  with pytest.raises(UserError, match="omit --valid-songs"):
    _prepare(songs, tmp_path / "out", "--valid-songs=Third - Song")


def test_mistakes_are_named_before_anything_is_written(songs, tmp_path):
  out = tmp_path / "out"
  with pytest.raises(UserError, match=r"no song 'Third Song'; .*'Third - "):
    _prepare(songs, out, "--valid-songs=Third Song")
  every = [f"--valid-songs={song.name}" for song in (songs / "train").iterdir()]
  with pytest.raises(UserError, match="leaves no song"):
    _prepare(songs, out, *every)
  (songs / "train/Third - Song/drums.wav").unlink()
  with pytest.raises(UserError, match=r"2 of 3 have .* but Third - Song lacks drums"):
    _prepare(songs, out)
  with pytest.raises(UserError, match="Third - Song lacks a file for drums; mend"):
    _prepare(songs, out, f"--stems={','.join(STEMS)}")
  with pytest.raises(UserError, match="nowhere: not found"):
    _prepare(songs / "nowhere", out)
  shutil.rmtree(songs / "train")
  _write_song(songs / "train", 1)
  with pytest.raises(UserError, match="holds stems itself"):
    _prepare(songs, out)
  assert not out.exists()


def test_no_validation_song_gives_a_warning_that_helps(songs, tmp_path, capsys):
  shutil.rmtree(songs / "train/Actions - One Minute Smile")
  manifest = _prepare(songs, tmp_path / "out", "--valid-share=0")
  assert manifest.songs == {"valid": []}
  assert "warning: there are no validation songs" in capsys.readouterr().err


def test_broken_and_silent_stems_are_left_out(songs, tmp_path, capsys):
  (songs / "train/Third - Song/drums.wav").write_bytes(b"RIFF")
  silence = np.zeros((2, 5 * RATE), np.float32)
  write(songs / "train/Third - Song/vocals.wav", silence)
  (songs / "train/Actions - One Minute Smile/bass.wav").write_bytes(b"")
  manifest = _prepare(songs, tmp_path / "out")
  files = {entry["file"] for entry in manifest.skipped}
  assert files == {
    "train/Third - Song/drums.wav",
    "train/Third - Song/vocals.wav",
    "train/Actions - One Minute Smile/bass.wav",
  }
  assert manifest.songs == {"valid": []}
  assert len(open_shards(tmp_path / "out", "train", "drums")) == 4
  assert "left out: 1 silent stems, 2 broken files" in capsys.readouterr().out


def test_a_stem_that_never_sounds_is_an_error(songs, tmp_path):
  silence = np.zeros((2, 5 * RATE), np.float32)
  write(songs / "train/Third - Song/bass.wav", silence)
  write(songs / "train/Dear, You - Comma/bass.flac", silence)
  with pytest.raises(UserError, match=r"yields a segment of bass.*never sounds"):
    _prepare(songs, tmp_path / "out")


def test_going_on_gives_the_same_bytes_and_other_settings_are_refused(songs, tmp_path):
  out = tmp_path / "out"
  _prepare(songs, out)
  before = _files(out)
  (out / "manifest.json").unlink()
  next((out / "bass").glob("*.json")).unlink()
  shutil.rmtree(out / "valid/Actions - One Minute Smile")
  _prepare(songs, out)
  assert _files(out) == before
  with pytest.raises(UserError, match=r"seconds is 2.0 there, 3.0 now"):
    _prepare(songs, out, "--seconds=3")
  with pytest.raises(UserError, match="song_list is"):
    _prepare(songs, out, "--valid-songs=Third - Song")
  assert _files(out) == before


@pytest.mark.realdata
def test_real_songs(realdata, tmp_path):
  lithium = "Software-Entwicklungskit - Lithium"
  musdb18 = tmp_path / "musdb"
  for split, song in (
    ("train", lithium),
    ("valid", "Software-Entwicklungskit - Caesium"),
  ):
    (musdb18 / split).mkdir(parents=True)
    (musdb18 / split / song).symlink_to(realdata / "stems/train" / song)
  out = tmp_path / "out"
  flags = ["--sample-rate=44100", "--seconds=8", "--hop=4"]
  manifest = _prepare(musdb18, out, *flags)
  counts = {
    stem: sum(entry["records"] for entry in entries)
    for stem, entries in manifest.splits["train"].items()
  }
  assert counts["vocals"] > counts["bass"] > 0
  copied = out / "valid/Software-Entwicklungskit - Caesium/vocals.flac"
  original = musdb18 / "valid/Software-Entwicklungskit - Caesium/vocals.flac"
  assert copied.read_bytes() == original.read_bytes()
