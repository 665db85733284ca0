import resource

import numpy as np
import pytest
from music_files import RATE, noise, write

from data_prep.cutting import Rules, cut_track
from data_prep.segments import Cut
from data_prep.tracks import UnusableError
from mixit_jax.audio.decoding import decode
from mixit_jax.audio.files import AudioError
from mixit_jax.audio.pcm import to_float32
from mixit_jax.audio.resampling import resample
from mixit_jax.data.records import decode_segment

CUT = Cut(RATE, 2.0, 1.0, "flac")
RULES = Rules(CUT, strict=False, damaged="use")
REFUSE = Rules(CUT, strict=False, damaged="refuse")


def cut(path, rules=RULES):
  found = cut_track(path, path.name, rules, path.parent)
  return found, [decode_segment(record) for record in found.records]


def halved(path):
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  return path


@pytest.mark.parametrize("rate", [RATE, 11_025, 44_100])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_segments_are_those_of_the_whole_track(tmp_path, suffix, rate):
  path = write(tmp_path / f"a{suffix}", noise(1, 9, rate), rate, None)
  whole = resample(decode(path)[0], rate, RATE)
  found, segments = cut(path)
  assert found.count == len(segments) == 8
  assert (found.damage, found.warning) == (None, "")
  assert found.seconds == pytest.approx(9)
  for number, segment in enumerate(segments):
    assert (segment.track, segment.start) == (path.name, number)
    expected = whole[:, number * RATE :][:, : 2 * RATE]
    np.testing.assert_allclose(to_float32(segment.audio), expected, atol=2e-5)


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".mp3", ".ogg"])
def test_one_rule_for_cut_files_of_all_formats(tmp_path, suffix):
  path = halved(write(tmp_path / f"a{suffix}", noise(1, 20), RATE, None))
  found, segments = cut(path)
  assert 7 < found.damage.seconds < 13
  if suffix != ".ogg":  # which announces no length
    assert found.damage.lost + found.damage.seconds == pytest.approx(20, abs=0.3)
  assert found.damage.reason
  assert len(segments) == int(found.damage.seconds) - 1
  with pytest.raises(UnusableError, match=r"see --damaged") as caught:
    cut(path, REFUSE)
  assert caught.value.kind == "damaged"


def test_what_is_left_of_a_damaged_track_may_be_too_short(tmp_path):
  path = halved(write(tmp_path / "a.flac", noise(1, 3)))
  with pytest.raises(
    UnusableError, match=r"s that can be used \(.*\) are shorter than"
  ):
    cut(path)


def test_peaks_beyond_full_scale_are_scaled_in_their_segment_only(tmp_path):
  audio = noise(1, 4)
  audio[0, 100] = 1.6
  path = write(tmp_path / "a.wav", audio, RATE, "FLOAT")
  first, second, third = (to_float32(segment.audio) for segment in cut(path)[1])
  assert np.abs(first).max() == pytest.approx(1, abs=1e-4)
  np.testing.assert_allclose(first * 1.6, audio[:, : 2 * RATE], atol=1e-4)
  np.testing.assert_array_equal(third, audio[:, 2 * RATE :])
  np.testing.assert_array_equal(second, audio[:, RATE : 3 * RATE])


def test_a_click_that_silences_its_segment_costs_the_segment(tmp_path):
  audio = noise(1, 6)
  audio[0, 100] = 1e5
  path = write(tmp_path / "a.wav", audio, RATE, "FLOAT")
  rules = Rules(Cut(RATE, 3.0, 1.0, "flac"), strict=False, damaged="use")
  assert [segment.start for segment in cut(path, rules)[1]] == [1, 2, 3]


def test_an_absurd_peak_is_refused_with_its_time(tmp_path):
  audio = noise(1, 6)
  audio[1, 3 * RATE + RATE // 2] = 1e20
  path = write(tmp_path / "a.wav", audio, RATE, "FLOAT")
  with pytest.raises(AudioError, match=r"a sample of 1e\+20, .*at 3\.50 s"):
    cut(path)


def test_the_same_audio_has_the_same_hash_whatever_holds_it(tmp_path):
  audio = noise(1, 5)
  hashes = [
    cut(write(tmp_path / name, audio, RATE, subtype))[0].audio
    for name, subtype in (("a.wav", "PCM_16"), ("b.flac", "PCM_16"), ("c.wav", "FLOAT"))
  ]
  other = cut(write(tmp_path / "d.wav", audio[:, 1:]))[0].audio
  assert len({*hashes}) == 1
  assert other not in hashes


def test_memory_does_not_grow_with_the_length_of_a_track(tmp_path):
  """Joined files are decoded whole."""
  path = tmp_path / "long.mp3"
  write(path, noise(1, 30, 44_100), 44_100, None)
  path.write_bytes(path.read_bytes() * 15)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  rules = Rules(Cut(22_050, 10.0, 10.0, "flac"), strict=False, damaged="use")
  found = cut_track(path, "long", rules, tmp_path)
  assert found.seconds > 430
  assert sum(1 for _ in found.records) == found.count > 40
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert grown < 120_000  # kB; whole it were 160 MB decoded, and 80 MB resampled
