import numpy as np
import pytest

from data_prep.synthetic.rendering import PEAK, STEMS, render_song

RATE = 8000
SECONDS = 12.0


@pytest.fixture(scope="module")
def songs():
  return [render_song((0, 0, number), SECONDS, RATE) for number in range(6)]


def _center(sound):
  """Mean frequency in Hz, weighted by power."""
  power = np.abs(np.fft.rfft(sound.mean(axis=0))) ** 2
  hertz = np.fft.rfftfreq(sound.shape[1], 1 / RATE)
  return np.sum(power * hertz) / power.sum()


def test_songs_are_stereo_stems_below_full_scale(songs):
  for song in songs:
    assert tuple(song) == STEMS
    mixture = sum(song.values())
    for sound in song.values():
      assert sound.shape == (2, SECONDS * RATE)
      assert sound.dtype == np.float32
      assert np.isfinite(sound).all()
    peak = max(np.abs(sound).max() for sound in (mixture, *song.values()))
    assert peak == pytest.approx(PEAK, abs=1e-5)
    assert not np.array_equal(mixture[0], mixture[1])


def test_the_seed_decides_on_every_sample(songs):
  again = render_song((0, 0, 1), SECONDS, RATE)
  for stem in STEMS:
    np.testing.assert_array_equal(again[stem], songs[1][stem])
    assert not np.array_equal(again[stem], songs[2][stem])


def test_stems_are_comparably_loud(songs):
  for song in songs:
    rms = {stem: np.sqrt(np.mean(np.square(sound))) for stem, sound in song.items()}
    assert max(rms.values()) < 12 * min(rms.values())


def test_stems_differ_in_register_in_every_song(songs):
  for song in songs:
    assert _center(song["bass"]) < 0.7 * min(
      _center(song["vocals"]), _center(song["other"])
    )


def test_drums_come_and_go_faster_than_the_other_stems(songs):
  """Kurtosis of the 10-ms levels tells strokes from tones."""

  def burstiness(sound):
    level = np.square(sound).mean(axis=0).reshape(-1, RATE // 100).mean(axis=1)
    return np.mean(level**2) / np.mean(level) ** 2

  drums = np.mean([burstiness(song["drums"]) for song in songs])
  for stem in ("vocals", "bass", "other"):
    assert drums > 1.5 * np.mean([burstiness(song[stem]) for song in songs])


def test_the_sample_rate_changes_nothing_of_the_music(songs):
  """Half a second by half a second, the loudness follows the same score."""
  fine = render_song((0, 0, 1), SECONDS, 2 * RATE)
  for stem in ("bass", "other"):
    levels = [
      np.square(sound).mean(axis=0).reshape(int(2 * SECONDS), -1).mean(axis=1)
      for sound in (songs[1][stem], fine[stem])
    ]
    assert np.corrcoef(levels)[0, 1] > 0.8


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_very_short_songs_have_no_holes(seconds):
  for number in range(3):
    song = render_song((7, number), seconds, RATE)
    assert all(np.isfinite(sound).all() for sound in song.values())
