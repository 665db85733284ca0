import numpy as np
import pytest
import soundfile
from music_files import RATE, noise, write

from data_prep.song_copies import SongCopy
from data_prep.song_files import SongFiles
from mixit_jax.errors import UserError


def _copy(tmp_path, *names, sample_rate=RATE, **options):
  stems = tuple((name.partition(".")[0], (name,)) for name in names)
  song = SongFiles(tmp_path / "train/Song", "train/Song", stems, "", ())
  job = SongCopy(song, tmp_path / "out/valid/Song", sample_rate, **options)
  job.run()
  return job


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24"])
def test_integer_samples_keep_their_bits_and_depth(tmp_path, subtype):
  source = write(tmp_path / "train/Song/bass.wav", noise(1, 1), RATE, subtype)
  job = _copy(tmp_path, "bass.wav")
  assert job.is_finished()
  assert job.skipped() == []
  copied, rate = soundfile.read(job.target / "bass.flac", dtype="int32")
  np.testing.assert_array_equal(copied, soundfile.read(source, dtype="int32")[0])
  assert rate == RATE
  expected = "PCM_S8" if subtype == "PCM_U8" else subtype
  assert soundfile.info(job.target / "bass.flac").subtype == expected


def test_what_flac_cannot_hold_and_flac_itself_is_copied_as_it_is(tmp_path):
  loud = 3 * noise(1, 1)
  sources = [
    write(tmp_path / "train/Song/bass.wav", loud, RATE, "FLOAT"),
    write(tmp_path / "train/Song/drums.wav", noise(2, 1), RATE, "PCM_32"),
    write(tmp_path / "train/Song/other.flac", noise(3, 1), RATE),
  ]
  job = _copy(tmp_path, *(source.name for source in sources))
  for source in sources:
    assert (job.target / source.name).read_bytes() == source.read_bytes()


def test_another_rate_is_resampled_and_never_clipped(tmp_path):
  write(tmp_path / "train/Song/bass.wav", noise(1, 1, 2 * RATE), 2 * RATE)
  loud = np.full((2, 2 * RATE), 1.5, np.float32)
  write(tmp_path / "train/Song/other.wav", loud, 2 * RATE, "FLOAT")
  job = _copy(tmp_path, "bass.wav", "other.wav")
  info = soundfile.info(job.target / "bass.flac")
  assert (info.samplerate, info.frames, info.subtype) == (RATE, RATE, "PCM_24")
  kept, rate = soundfile.read(job.target / "other.wav")
  assert rate == RATE
  assert kept.max() == pytest.approx(1.5, rel=0.2)
  assert np.median(kept) == pytest.approx(1.5, abs=1e-3)


def test_a_song_with_a_broken_file_is_left_out_until_it_is_mended(tmp_path):
  write(tmp_path / "train/Song/bass.wav", noise(1, 1))
  broken = tmp_path / "train/Song/drums.flac"
  broken.write_bytes(write(tmp_path / "whole.flac", noise(2, 1)).read_bytes()[:-2000])
  job = _copy(tmp_path, "bass.wav", "drums.flac")
  assert not job.is_finished()
  [skipped] = job.skipped()
  assert skipped["file"] == "train/Song/drums.flac"
  assert skipped["reason"].startswith("damaged from its start")
  assert [path.name for path in job.target.parent.iterdir()] == ["Song.json"]
  write(broken, noise(2, 1))
  job = _copy(tmp_path, "bass.wav", "drums.flac")
  assert job.is_finished()
  assert job.skipped() == []
  assert [path.name for path in job.target.parent.iterdir()] == ["Song"]


def test_what_a_killed_run_left_is_replaced(tmp_path):
  write(tmp_path / "train/Song/bass.wav", noise(1, 1))
  left_over = tmp_path / "out/valid/.Song.tmp/half.flac"
  left_over.parent.mkdir(parents=True)
  left_over.write_bytes(b"half")
  job = _copy(tmp_path, "bass.wav")
  assert [path.name for path in job.target.iterdir()] == ["bass.flac"]


def test_a_copy_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
  write(tmp_path / "train/Song/bass.wav", noise(1, 1))

  def full(*arguments):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("data_prep.song_copies._pack", full)
  with pytest.raises(UserError, match=r"bass.wav: cannot be copied to .*No space left"):
    _copy(tmp_path, "bass.wav")
