import csv
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixit_jax.audio.decoding import AudioError, decode

# Odd files that soundfile reads in part, or at a wrong speed, without an error.
REFUSED = {
  "minimp3_l3-nonstandard-he_44_48khz.mp3": "sample rate changes",
  "flacuncommon_01_-_changing_samplerate.flac": "sample rate changes",
  "derived_garbage_middle.mp3": "damaged",
}


def odd_files(realdata):
  with (realdata / "bad" / "README.tsv").open() as file:
    return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(params=["with PyAV", "without PyAV"])
def pyav(request, monkeypatch):
  if request.param == "without PyAV":
    monkeypatch.setitem(sys.modules, "av", None)
  else:
    pytest.importorskip("av")


@pytest.fixture
def no_pyav(monkeypatch):
  monkeypatch.setitem(sys.modules, "av", None)


@pytest.mark.realdata
@pytest.mark.usefixtures("pyav")
def test_odd_files_give_finite_audio_or_an_error_that_names_them(realdata):
  paths = [realdata / "bad" / row["file"] for row in odd_files(realdata)]
  refused = {}
  for path in paths:
    try:
      audio, rate = decode(path)
    except AudioError as error:
      refused[path] = str(error)
    else:
      assert audio.dtype == np.float32
      assert audio.ndim == 2
      assert np.isfinite(audio).all()
      assert rate > 0
  assert len(paths) == 80
  assert len(refused) < 45
  for path, message in refused.items():
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@pytest.mark.realdata
@pytest.mark.usefixtures("no_pyav")
def test_odd_files_that_soundfile_reads_are_read_whole(realdata):
  """Compares with the lengths that were measured when the files were collected."""
  lengths = {}
  for row in odd_files(realdata):
    if row["soundfile_read"].startswith("read="):
      lengths[row["file"]] = int(row["soundfile_read"].split()[0][5:])
  # A header that is wrong, and one without a length: this is what the frames hold.
  lengths["flacfaulty_05_-_wrong_total_number_of_samples.flac"] = 109_487
  lengths["flacsubset_45_-_no_total_number_of_samples_set.flac"] = 336_410
  assert len(lengths) > 35
  for name, length in lengths.items():
    path = realdata / "bad" / name
    if name in REFUSED or length == 0:
      with pytest.raises(AudioError, match=REFUSED.get(name, "holds no audio")):
        decode(path)
    else:
      assert decode(path)[0].shape[1] == length, name


@pytest.mark.realdata
@pytest.mark.usefixtures("no_pyav")
@pytest.mark.parametrize(
  ("name", "reason"),
  [
    *REFUSED.items(),
    ("flacuncommon_02_-_increasing_number_of_channels.flac", "channels changes midway"),
    ("flacuncommon_03_-_decreasing_number_of_channels.flac", "channels changes midway"),
    ("derived_flac_truncated.flac", "damaged after .* lost sync"),
    ("derived_flac_corrupt_middle.flac", "damaged after .* lost sync"),
    ("derived_zeroed_region.mp3", "damaged after"),
    ("derived_html_404_page.mp3", "not an audio format that soundfile knows"),
    ("flacsubset_22_-_12_bit_per_sample.flac", r"mixit-jax\[formats\]"),
  ],
)
def test_odd_files_are_refused_for_what_is_wrong_with_them(realdata, name, reason):
  with pytest.raises(AudioError, match=reason):
    decode(realdata / "bad" / name)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
def test_content_decodes_as_its_file(tmp_path, tone, encode, suffix):
  content = encode(tone(440, 44_100), 44_100, suffix)
  path = tmp_path / f"file{suffix}"
  path.write_bytes(content)
  from_file, rate = decode(path)
  from_content, same_rate = decode(content)
  assert rate == same_rate == 44_100
  assert from_file.flags.c_contiguous
  np.testing.assert_array_equal(from_file, from_content)
  tolerance = 0.02 if suffix in (".mp3", ".ogg") else 1e-6
  np.testing.assert_allclose(from_file, tone(440, 44_100), atol=tolerance)


def test_audio_longer_than_a_block_is_whole(encode):
  audio = np.random.default_rng(0).uniform(-1, 1, (2, 300_001)).astype(np.float32)
  np.testing.assert_array_equal(decode(encode(audio, 44_100, ".wav"))[0], audio)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
  path = tmp_path / "file.wav"
  soundfile.write(path, np.array([0.0, value, 0.1]), 44_100, "FLOAT")
  with pytest.raises(AudioError, match=rf"{path}.*not finite, at 0\.00 s"):
    decode(path)


def test_samples_beyond_the_range_of_float32_are_refused(tmp_path):
  path = tmp_path / "file.wav"
  soundfile.write(path, np.array([0.0, 1e300]), 44_100, "DOUBLE")
  with pytest.raises(AudioError, match="not finite"):
    decode(path)


@pytest.mark.parametrize("rate", [1, 999, 1_000_000])
def test_implausible_rates_are_refused(tmp_path, rate):
  path = tmp_path / "file.wav"
  soundfile.write(path, np.zeros(100), rate)
  with pytest.raises(AudioError, match=f"rate of {rate} Hz"):
    decode(path)


def test_files_without_samples_are_refused(tmp_path):
  path = tmp_path / "file.wav"
  soundfile.write(path, np.zeros((0, 2)), 44_100)
  with pytest.raises(AudioError, match=rf"{path}: holds no audio"):
    decode(path)


@pytest.mark.parametrize("content", [b"", b"text", bytes(10_000), b"RIFF", b"fLaC"])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".raw", ".m4a"])
@pytest.mark.usefixtures("pyav")
def test_what_is_no_audio_is_refused(tmp_path, content, suffix):
  path = tmp_path / f"file{suffix}"
  path.write_bytes(content)
  with pytest.raises(AudioError, match=rf"^{path}: cannot be decoded") as caught:
    decode(path)
  assert "not exist" not in str(caught.value)


def test_errors_have_their_parts_and_survive_a_worker(tmp_path):
  with pytest.raises(AudioError) as caught:
    decode(tmp_path / "song: 1.wav")
  error = pickle.loads(pickle.dumps(caught.value))
  assert error.file == str(tmp_path / "song: 1.wav")
  assert error.reason == "expected an audio file, found none"
  assert str(error) == str(caught.value) == f"{error.file}: {error.reason}"


def test_missing_files_folders_and_pipes_are_refused(tmp_path):
  os.mkfifo(tmp_path / "pipe.wav")
  for path in (tmp_path / "absent.wav", tmp_path, tmp_path / "pipe.wav"):
    with pytest.raises(AudioError, match=rf"{path}: expected an audio file"):
      decode(path)


class TestPyAV:
  """Formats that soundfile does not know."""

  @staticmethod
  def write(path, audio, rate, container=None, codec="aac", layout="stereo"):
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format=container) as file:
      stream = file.add_stream(codec, rate=rate, layout=layout)
      stream.open()  # the length of its frames is known now
      frames = av.AudioResampler(
        stream.format, stream.layout, rate, stream.codec_context.frame_size or 1024
      )
      whole = av.AudioFrame.from_ndarray(audio.T.reshape(1, -1), "flt", layout)
      whole.sample_rate, whole.pts = rate, 0
      for frame in [*frames.resample(whole), *frames.resample(None), None]:
        file.mux(stream.encode(frame))

  @pytest.mark.parametrize("suffix", [".m4a", ".aac", ".mka"])
  def test_aac_is_decoded(self, tmp_path, tone, frequency_of, suffix):
    path, rate = tmp_path / f"song{suffix}", 48_000
    audio = tone(440, rate)
    container = {".aac": "adts", ".mka": "matroska"}.get(suffix)
    self.write(path, audio, rate, container)
    for source in (path, path.read_bytes()):
      decoded, decoded_rate = decode(source)
      assert decoded_rate == rate
      assert decoded.dtype == np.float32
      assert decoded.shape == (2, pytest.approx(audio.shape[1], abs=2048))
      assert frequency_of(decoded[0], rate) == 440
      power = np.square(decoded[:, 9600:-9600]).mean(axis=1)
      np.testing.assert_allclose(power, [0.5**3, 0.5**5], rtol=0.05)

  def test_m4a_keeps_its_samples_in_place(self, tmp_path, tone):
    path, rate = tmp_path / "song.m4a", 44_100
    audio = tone(440, rate) * np.linspace(0, 1, 2 * rate, dtype=np.float32)
    self.write(path, audio, rate)
    decoded, _ = decode(path)
    middle = slice(rate // 2, rate * 3 // 2)
    np.testing.assert_allclose(decoded[:, middle], audio[:, middle], atol=0.02)

  def test_cut_m4a_file_is_refused(self, tmp_path, tone):
    path = tmp_path / "song.m4a"
    self.write(path, tone(440, 44_100), 44_100)
    path.write_bytes(path.read_bytes()[:10_000])  # its index stood at its end
    with pytest.raises(AudioError, match=r"soundfile: .*; PyAV: Invalid data"):
      decode(path)

  @pytest.mark.parametrize(
    ("codec", "layout", "num_channels"),
    [("aac", "5.1", 6), ("aac", "7.1", 8), ("pcm_f32le", "hexadecagonal", 16)],
  )
  def test_many_channels_are_decoded(
    self, tmp_path, tone, frequency_of, codec, layout, num_channels
  ):
    """PyAV crashes in eight channels and more where they are not interleaved."""
    path, rate = tmp_path / "song.mka", 48_000
    audio = np.concatenate(
      [tone(100 * (c + 1), rate, num_channels=1) for c in range(num_channels)]
    )
    audio[3] = tone(50, rate, num_channels=1)  # for low frequencies alone, in AAC
    self.write(path, audio, rate, "matroska", codec, layout)
    decoded, _ = decode(path)
    assert decoded.shape == (num_channels, pytest.approx(audio.shape[1], abs=2048))
    for found, expected in zip(decoded, audio, strict=True):
      assert frequency_of(found, rate) == pytest.approx(
        frequency_of(expected, rate), abs=1
      )

  def test_playlists_open_no_other_files(self, tmp_path, tone):
    self.write(tmp_path / "song.aac", tone(440, 44_100), 44_100, "adts")
    playlist = tmp_path / "song.m4a"
    playlist.write_text(
      "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-VERSION:3\n#EXTINF:2.0,\n"
      f"{Path(tmp_path, 'song.aac').as_uri()}\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(AudioError):
      decode(playlist)
