from pathlib import Path

import numpy as np
import pytest

from data_prep.synthetic.composition import Part
from data_prep.synthetic.instruments import INSTRUMENTS, Note, Timbre
from data_prep.synthetic.songs import PEAK, Song, play, render

RATE = 8000
SECONDS = 12.0
TIMBRE = Timbre(RATE, 0, np.random.default_rng(0), 0.5, 0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def songs():
  return [render((0, 0, number), SECONDS, RATE) for number in range(8)]


def _center(sound):
  """Mean frequency in Hz, weighted by power."""
  power = np.abs(np.fft.rfft(sound.mean(axis=0))) ** 2
  hertz = np.fft.rfftfreq(sound.shape[1], 1 / RATE)
  return np.sum(power * hertz) / power.sum()


def test_songs_are_stereo_stems_below_full_scale(songs):
  for song in songs:
    assert tuple(song) == ("vocals", "drums", "bass", "other")
    mixture = sum(song.values())
    for sound in song.values():
      assert sound.shape == (2, SECONDS * RATE)
      assert sound.dtype == np.float32
    peak = max(np.abs(sound).max() for sound in (mixture, *song.values()))
    assert peak == pytest.approx(PEAK, abs=2e-4)
    assert not np.array_equal(mixture[0], mixture[1])


def test_the_seed_decides_on_every_sample(songs):
  again = render((0, 0, 1), SECONDS, RATE)
  for stem, sound in again.items():
    np.testing.assert_array_equal(sound, songs[1][stem])
    assert not np.array_equal(sound, songs[2][stem])


def test_stems_are_heard_and_comparably_loud(songs):
  for song in songs:
    rms = {stem: np.sqrt(np.mean(np.square(sound))) for stem, sound in song.items()}
    assert max(rms.values()) < 10 * min(rms.values())
    for sound in song.values():
      seconds = np.square(sound).reshape(2, int(SECONDS), RATE).mean(axis=(0, 2))
      assert np.mean(seconds > 1e-5) > 0.4


def test_the_bass_is_lower_than_all_else_in_most_songs(songs):
  lower = [
    _center(song["bass"]) < 0.7 * min(_center(song["vocals"]), _center(song["other"]))
    for song in songs
  ]
  assert np.mean(lower) > 0.6


def test_drums_come_and_go_faster_than_the_other_stems(songs):
  """Kurtosis of the levels of 10 ms tells strokes from tones."""

  def burstiness(sound):
    level = np.square(sound).mean(axis=0).reshape(-1, RATE // 100).mean(axis=1)
    return np.mean(level**2) / np.mean(level) ** 2

  drums = np.mean([burstiness(song["drums"]) for song in songs])
  for stem in ("vocals", "bass", "other"):
    assert drums > 1.5 * np.mean([burstiness(song[stem]) for song in songs])


def test_the_sample_rate_changes_nothing_of_the_music(songs):
  """Times and frequencies of the power below 3 kHz are the same at twice the rate."""
  for number in range(3):
    fine = render((0, 0, number), SECONDS, 2 * RATE)
    for stem, sound in songs[number].items():
      pictures = []
      for channels, rate in ((sound, RATE), (fine[stem], 2 * RATE)):
        frames = channels.mean(axis=0).reshape(int(2 * SECONDS), rate // 2)
        power = np.abs(np.fft.rfft(frames)[:, :1500] / rate) ** 2
        bands = np.add.reduceat(power, np.geomspace(10, 1000, 20).astype(int), axis=1)
        pictures.append(np.sqrt(bands / bands.sum()).ravel())
      assert pictures[0] @ pictures[1] > 0.96


def test_mixes_of_any_ensemble_lack_stems_and_full_ones_do_not():
  def sounding(number, ensemble):
    song = Song(Path("unused.flac"), (0, 3, number), 8.0, RATE, ensemble)
    return [stem for stem, sound in song.stems().items() if sound.any()], song.playing

  for number in range(6):
    heard, playing = sounding(number, "any")
    assert heard == playing
    assert len(sounding(number, "full")[0]) == 4
  assert len({tuple(sounding(number, "any")[0]) for number in range(6)}) > 3


def test_notes_sound_when_and_as_loud_as_they_are_written():
  notes = [Note(0.1, 0.0, 0, 1.0, "rim"), Note(0.75, 0.0, 0, 0.5, "rim")]
  part = Part("drums", "kit", 0, notes)
  sound = play(part, INSTRUMENTS["drums"]["kit"], TIMBRE, 7000)
  first, second = sound[:, 800:1400], sound[:, 6000:6600]
  assert not sound[:, :800].any()
  assert np.abs(first).max() > 0.1
  np.testing.assert_allclose(second, first / 2, atol=1e-6)


def test_notes_are_cut_at_the_end_of_the_song():
  part = Part("drums", "kit", 0, [Note(0.1, 0, 0, 1, "crash")])
  sound = play(part, INSTRUMENTS["drums"]["kit"], TIMBRE, 1000)
  assert sound.shape == (2, 1000)
  assert sound[:, -50:].any()


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_very_short_songs_are_songs(seconds):
  for number in range(3):
    song = render((7, number), seconds, RATE)
    assert np.isfinite(list(song.values())).all()
    assert np.abs(sum(song.values())).max() > 0.1
