import numpy as np
import pytest

from mixit_jax.audio.files import write_audio
from mixit_jax.data import songs
from mixit_jax.data.songs import Song, find_songs, read_song, song_chunks
from mixit_jax.errors import UserError
from mixit_jax.stems import STEMS

RATE = 8000


def _noise(seed: int, length: int = RATE) -> np.ndarray:
  noise = np.random.default_rng(seed).uniform(-0.2, 0.2, (2, length))
  return noise.astype(np.float32)


def _write_song(folder, lengths=(RATE,) * 4, suffix=".wav"):
  for seed, (stem, length) in enumerate(zip(STEMS, lengths, strict=True)):
    write_audio(folder / f"{stem}{suffix}", _noise(seed, length), RATE)
  return folder


def test_song_folders_are_found_in_order(tmp_path):
  for name in ("b song", "A song", "ñandú"):
    _write_song(tmp_path / name)
  (tmp_path / "notes").mkdir()
  write_audio(tmp_path / "notes" / "mixture.wav", _noise(0), RATE)
  (tmp_path / "readme.txt").write_text("not a song")
  found = find_songs(tmp_path)
  assert [song.name for song in found] == ["A song", "b song", "ñandú"]
  assert find_songs(tmp_path / "A song") == [tmp_path / "A song"]
  assert find_songs(tmp_path, ("bass", "drums")) == found


def test_a_folder_without_songs_says_what_is_expected(tmp_path):
  with pytest.raises(UserError, match="nowhere: not found"):
    find_songs(tmp_path / "nowhere")
  with pytest.raises(UserError, match=r"holds no song; expected .* bass\.wav, drums"):
    find_songs(tmp_path)


def test_a_song_without_a_stem_is_named(tmp_path):
  _write_song(tmp_path / "good")
  _write_song(tmp_path / "bad")
  (tmp_path / "bad" / "vocals.wav").unlink()
  with pytest.raises(UserError, match="bad: lacks a file for vocals"):
    find_songs(tmp_path)
  with pytest.raises(UserError, match="bad: lacks a file for vocals"):
    read_song(tmp_path / "bad", sample_rate=RATE)


def test_two_files_for_one_stem_are_refused(tmp_path):
  _write_song(tmp_path / "song")
  write_audio(tmp_path / "song" / "Bass.flac", _noise(9), RATE)
  with pytest.raises(UserError, match=r"song: has both Bass\.flac and bass\.wav"):
    find_songs(tmp_path)


def test_stems_keep_the_order_asked_for_and_sum_to_the_mixture(tmp_path):
  _write_song(tmp_path / "song")
  song = read_song(tmp_path / "song", ("vocals", "bass"), RATE)
  assert song.name == "song"
  np.testing.assert_array_equal(song.references, [_noise(2), _noise(0)])
  np.testing.assert_allclose(song.mixture, _noise(2) + _noise(0), atol=1e-7)


def test_the_mixture_file_is_preferred_to_the_sum(tmp_path):
  folder = _write_song(tmp_path / "song")
  write_audio(folder / "mixture.flac", _noise(8), RATE)
  song = read_song(folder, sample_rate=RATE)
  np.testing.assert_allclose(song.mixture, _noise(8), atol=2**-23)


def test_files_are_read_at_the_rate_and_channels_asked_for(tmp_path, monkeypatch):
  folder = _write_song(tmp_path / "song")
  read = []

  def record(*arguments):
    read.append(arguments)
    return _noise(0)[:1]

  monkeypatch.setattr(songs, "read_audio", record)
  song = read_song(folder, ("drums", "vocals"), 44100, 1)
  assert read == [(folder / "drums.wav", 44100, 1), (folder / "vocals.wav", 44100, 1)]
  assert song.references.shape == (2, 1, RATE)


def test_mono_files_get_equal_channels(tmp_path):
  folder = _write_song(tmp_path / "song")
  write_audio(folder / "bass.wav", _noise(1)[:1], RATE)
  song = read_song(folder, sample_rate=RATE)
  np.testing.assert_array_equal(song.references[0], _noise(1)[[0, 0]])


def test_lengths_that_differ_a_little_are_cut(tmp_path):
  folder = _write_song(tmp_path / "song", (RATE, RATE + 800, RATE + 1, RATE + 90))
  write_audio(folder / "mixture.wav", _noise(8, RATE + 500), RATE)
  song = read_song(folder, sample_rate=RATE)
  assert song.references.shape == (4, 2, RATE)
  np.testing.assert_array_equal(song.references[1], _noise(1, RATE + 800)[:, :RATE])
  np.testing.assert_array_equal(song.mixture, _noise(8, RATE + 500)[:, :RATE])


def test_lengths_that_differ_much_are_refused(tmp_path):
  folder = _write_song(tmp_path / "song", (RATE, 2 * RATE, RATE, RATE))
  with pytest.raises(
    UserError, match=r"song: .*drums\.wav of 2\.00 s and bass\.wav of 1"
  ):
    read_song(folder, sample_rate=RATE)


def test_chunks_have_one_length_and_lie_one_hop_apart():
  references = np.arange(4 * 2 * 100, dtype=np.float32).reshape(4, 2, 100)
  song = Song("song", references, references.sum(axis=0))
  chunks = list(song_chunks(song, 30, 20))
  assert len(chunks) == 4
  for i, (part, mixture) in enumerate(chunks):
    np.testing.assert_array_equal(part, references[..., 20 * i : 20 * i + 30])
    np.testing.assert_array_equal(mixture, song.mixture[:, 20 * i : 20 * i + 30])
  assert len(list(song_chunks(song, 100, 100))) == 1


def test_a_short_song_gives_one_padded_chunk():
  references = np.ones((2, 2, 5), np.float32)
  ((part, mixture),) = song_chunks(Song("s", references, 2 * references[0]), 8, 4)
  np.testing.assert_array_equal(part[0, 0], [1, 1, 1, 1, 1, 0, 0, 0])
  np.testing.assert_array_equal(mixture[1], [2, 2, 2, 2, 2, 0, 0, 0])
