import itertools
import sys

import librosa
import numpy as np
import pytest
import soundfile

from mixit_jax.audio import writing
from mixit_jax.audio.files import (
  AUDIO_SUFFIXES,
  AudioError,
  decode,
  find_audio,
  read_audio,
  resample,
  write_audio,
)
from mixit_jax.errors import UserError

RATES = (8_000, 11_025, 22_050, 35_467, 44_100, 48_000, 96_000, 192_000)
PAIRS = list(itertools.permutations(RATES, 2))


@pytest.fixture
def noise(noise):
  return noise()


class TestRead:
  def test_file_keeps_its_rate_unless_asked(self, tmp_path, tone):
    path = tmp_path / "song.wav"
    write_audio(path, tone(440, 48_000), 48_000)
    np.testing.assert_array_equal(read_audio(path), tone(440, 48_000))
    np.testing.assert_array_equal(read_audio(path, 48_000), tone(440, 48_000))

  @pytest.mark.parametrize("rate", [8_000, 48_000, 96_000])
  def test_file_is_resampled(self, tmp_path, tone, rate):
    path = tmp_path / "song.wav"
    write_audio(path, tone(440, rate), rate)
    audio = read_audio(path, 44_100)
    assert audio.dtype == np.float32
    inner = slice(4_410, -4_410)
    assert audio.shape == (2, 88_200)
    np.testing.assert_allclose(audio[:, inner], tone(440, 44_100)[:, inner], atol=1e-4)

  @pytest.mark.parametrize("num_channels", [1, 2, 4])
  def test_mono_becomes_equal_channels(self, tmp_path, tone, num_channels):
    path = tmp_path / "song.wav"
    mono = tone(440, 44_100, num_channels=1)
    write_audio(path, mono, 44_100)
    audio = read_audio(path, num_channels=num_channels)
    np.testing.assert_array_equal(audio, np.repeat(mono, num_channels, axis=0))

  @pytest.mark.parametrize(("found", "expected"), [(2, 1), (3, 2), (6, 2), (2, 3)])
  def test_other_numbers_of_channels_are_refused(self, tmp_path, found, expected):
    path = tmp_path / "song.wav"
    write_audio(path, np.zeros((found, 100)), 44_100)
    with pytest.raises(
      AudioError, match=rf"{path}: has {found} .* expected {expected}"
    ):
      read_audio(path, num_channels=expected)

  def test_path_may_be_a_string(self, tmp_path, noise):
    write_audio(str(tmp_path / "song.wav"), noise, 44_100)
    np.testing.assert_array_equal(read_audio(str(tmp_path / "song.wav")), noise)


class TestResample:
  def test_equal_rates_give_the_same_array(self, noise):
    assert resample(noise, 44_100, 44_100) is noise

  @pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
  def test_length_and_samples_are_those_of_librosa(self, noise, rate_in, rate_out):
    """Among the lengths are whole numbers at both rates, and next to nothing."""
    for length in (1, 2, 3, 147, 240, 999, 44_100):
      resampled = resample(noise[:, :length], rate_in, rate_out)
      expected = librosa.resample(
        noise[:, :length], orig_sr=rate_in, target_sr=rate_out, res_type="soxr_hq"
      )
      assert abs(resampled.shape[1] - length * rate_out / rate_in) <= 1
      assert resampled.dtype == np.float32
      assert resampled.flags.c_contiguous
      np.testing.assert_allclose(resampled, expected, rtol=0, atol=1e-6)

  @pytest.mark.parametrize("rate_out", [22_050, 44_100, 48_000])
  @pytest.mark.parametrize("num_channels", [1, 2, 3])
  def test_a_tone_stays_that_tone(self, tone, rate_out, num_channels):
    resampled = resample(tone(440, 32_000, 1, num_channels), 32_000, rate_out)
    expected = tone(440, rate_out, 1, num_channels)
    inner = slice(rate_out // 10, -rate_out // 10)
    assert resampled.shape == expected.shape
    np.testing.assert_allclose(resampled[:, inner], expected[:, inner], atol=1e-5)

  def test_what_the_lower_rate_cannot_carry_is_removed(self, tone):
    high = tone(15_000, 48_000)
    assert np.abs(resample(high, 48_000, 22_050)[:, 2_205:-2_205]).max() < 1e-4

  def test_librosa_is_not_needed(self, noise, monkeypatch):
    """Its first call fails where neither home nor packages can be written."""
    monkeypatch.setitem(sys.modules, "librosa", None)
    assert resample(noise, 48_000, 44_100).shape == (2, 64_314)


class TestWrite:
  @pytest.mark.parametrize("suffix", [".wav", ".WAV", ".aiff", ".caf", ".w64", ".au"])
  def test_default_keeps_every_bit_and_every_peak(self, tmp_path, noise, suffix):
    path = tmp_path / f"stem{suffix}"
    write_audio(path, 10 * noise, 44_100)
    audio, rate = decode(path)
    assert rate == 44_100
    np.testing.assert_array_equal(audio, 10 * noise)

  def test_flac_has_24_bits(self, tmp_path, noise):
    path = tmp_path / "stem.flac"
    write_audio(path, noise, 44_100)
    assert soundfile.info(path).subtype == "PCM_24"
    np.testing.assert_allclose(decode(path)[0], noise, atol=2.0**-23)

  def test_subtype_can_be_chosen(self, tmp_path, noise):
    path = tmp_path / "stem.wav"
    write_audio(path, noise, 44_100, subtype="PCM_16")
    assert soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_allclose(decode(path)[0], noise, atol=2.0**-15)

  def test_a_rate_that_vorbis_does_not_have_is_refused(self, tmp_path):
    # libsndfile would end the process.
    with pytest.raises(AudioError, match="cannot write 300000 Hz as Vorbis"):
      write_audio(tmp_path / "fast.ogg", np.zeros((1, 9)), 300_000)
    write_audio(tmp_path / "fast.ogg", np.zeros((1, 9)), 200_000)

  @pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus"])
  def test_lossy_formats_keep_the_length_and_the_level(self, tmp_path, tone, suffix):
    path = tmp_path / f"stem{suffix}"
    write_audio(path, tone(440, 48_000, seconds=3), 48_000)
    audio, rate = decode(path)
    assert (rate, audio.shape) == (48_000, (2, 144_000))
    power = np.square(audio).mean(axis=1)
    np.testing.assert_allclose(power, [0.5**3, 0.5**5], rtol=0.02)

  @pytest.mark.parametrize(
    ("name", "subtype"),
    [("stem.flac", None), ("stem.flac", "PCM_16"), ("stem.wav", "PCM_16")],
  )
  def test_integers_clip_with_a_warning_and_never_wrap(self, tmp_path, name, subtype):
    audio = np.array([[0.5, 1.5, -1.5, 1.0, -1.0, 40.0, -40.0]], np.float32)
    with pytest.warns(UserWarning, match=rf"{name}: 4 samples .* clipped by PCM"):
      write_audio(tmp_path / name, audio, 44_100, subtype)
    written, _ = decode(tmp_path / name)
    np.testing.assert_allclose(written, np.clip(audio, -1, 1), atol=2.0**-15)

  def test_float64_and_strided_audio_is_written(self, tmp_path, noise):
    path = tmp_path / "stem.wav"
    write_audio(path, noise.astype(np.float64).T.copy().T[:, ::3], 44_100)
    np.testing.assert_array_equal(decode(path)[0], noise[:, ::3])

  def test_folders_are_made(self, tmp_path, noise):
    path = tmp_path / "song" / "stems" / "bass.wav"
    write_audio(path, noise, 44_100)
    assert list(path.parent.iterdir()) == [path]

  @pytest.mark.parametrize("value", [np.nan, np.inf])
  def test_samples_that_are_not_finite_are_refused(self, tmp_path, noise, value):
    noise[1, 5] = value
    with pytest.raises(AudioError, match=r"stem\.wav: .*not finite"):
      write_audio(tmp_path / "stem.wav", noise, 44_100)
    assert list(tmp_path.iterdir()) == []

  @pytest.mark.parametrize("shape", [(2, 0), (0, 5), (5,), (1, 2, 5)])
  def test_other_shapes_are_refused(self, tmp_path, shape):
    with pytest.raises(AudioError, match=r"expected audio \[C, L\]"):
      write_audio(tmp_path / "stem.wav", np.zeros(shape), 44_100)

  @pytest.mark.parametrize("name", ["stem.m4a", "stem.xyz", "stem"])
  def test_formats_that_cannot_be_written_are_refused(self, tmp_path, noise, name):
    with pytest.raises(AudioError, match=rf"{name}: cannot write the format"):
      write_audio(tmp_path / name, noise, 44_100)

  @pytest.mark.parametrize(
    ("name", "rate", "subtype", "reason"),
    [
      ("stem.opus", 44_100, None, "Opus only supports"),
      ("stem.flac", 44_100, "FLOAT", "FLAC FLOAT"),
      ("stem.wav", 44_100, "PCM_99", "PCM_99"),
      ("stem.wav", 0, None, "0 Hz"),
    ],
  )
  def test_impossible_encodings_are_refused(
    self, tmp_path, noise, name, rate, subtype, reason
  ):
    with pytest.raises(AudioError, match=rf"{name}: cannot write .*{reason}"):
      write_audio(tmp_path / name, noise, rate, subtype)
    assert list(tmp_path.iterdir()) == []

  def test_place_that_is_no_folder_is_refused(self, tmp_path, noise):
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioError, match=r"stem\.wav: cannot write"):
      write_audio(tmp_path / "file" / "stem.wav", noise, 44_100)

  def test_a_failure_leaves_the_old_file_and_nothing_else(
    self, tmp_path, noise, monkeypatch
  ):
    path = tmp_path / "stem.wav"
    write_audio(path, noise, 44_100)
    before = path.read_bytes()

    def fail(self, data):
      raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile.SoundFile, "write", fail)
    with pytest.raises(AudioError, match=r"stem\.wav: cannot write 2 channels"):
      write_audio(path, noise, 44_100)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

  def test_wav_files_beyond_4_gib_become_rf64(self, tmp_path, noise, monkeypatch):
    monkeypatch.setattr(writing, "_WAV_BYTES", 100_000)
    write_audio(tmp_path / "long.wav", noise, 44_100)
    write_audio(tmp_path / "short.wav", noise[:, :1000], 44_100)
    assert soundfile.info(tmp_path / "long.wav").format == "RF64"
    assert soundfile.info(tmp_path / "short.wav").format == "WAV"
    np.testing.assert_array_equal(decode(tmp_path / "long.wav")[0], noise)


class TestFind:
  def test_audio_is_found_in_subfolders_in_sorted_order(self, tmp_path):
    names = ["b/2.mp3", "b/10.FLAC", "a.wav", "c/d/e.m4a", "c.ogg"]
    others = ["a.txt", "b/cover.jpg", "b/._2.mp3", "README", "c/checksums"]
    for name in names + others:
      (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
      (tmp_path / name).touch()
    (tmp_path / "folder.mp3").mkdir()
    found = [str(path.relative_to(tmp_path)) for path in find_audio(tmp_path).files]
    assert found == ["a.wav", "b/10.FLAC", "b/2.mp3", "c/d/e.m4a", "c.ogg"]

  def test_folders_without_audio_are_refused(self, tmp_path):
    with pytest.raises(UserError, match=rf"{tmp_path}: holds no audio file"):
      find_audio(tmp_path)
    with pytest.raises(UserError, match="absent: expected a folder"):
      find_audio(tmp_path / "absent")

  def test_suffixes_cover_what_soundfile_writes(self):
    written = {f".{name.lower()}" for name in ("WAV", "FLAC", "MP3", "OGG", "AIFF")}
    assert written | {".m4a", ".aac", ".opus"} <= AUDIO_SUFFIXES
    assert all(suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)
