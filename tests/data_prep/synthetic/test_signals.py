import numpy as np
import pytest

from data_prep.synthetic import signals

RATE = 8000


def _spectrum(sound):
  return np.abs(np.fft.rfft(sound)), np.fft.rfftfreq(len(sound), 1 / RATE)


def test_wavetables_are_sums_of_their_harmonics():
  harmonics = np.array([1.0, 0.5j, 0.0, -0.25])
  other = np.array([0.0, 1.0])
  phase = np.linspace(0, 40, 3000)
  expected = [
    sum(np.real(a * np.exp(2j * np.pi * (k + 1) * phase)) for k, a in enumerate(tone))
    for tone in (harmonics, other)
  ]
  tables = [signals.wavetable(tone) for tone in (harmonics, other)]
  for sound, wanted in zip(signals.lookup(*tables, phase), expected, strict=True):
    np.testing.assert_allclose(sound, wanted, atol=1e-4)


def test_harmonics_stay_below_the_nyquist_frequency():
  assert signals.audible_harmonics(100, RATE).tolist() == list(range(1, 38))
  assert signals.audible_harmonics(5000, RATE).tolist() == [1]


def test_concert_pitch():
  assert signals.frequency(69) == 440
  assert signals.frequency(57) == pytest.approx(220)


def test_envelope_rises_decays_and_ends():
  time = signals.seconds_axis(RATE, RATE)
  shape = signals.envelope(time, 0.1, 0.05, 0.5, 0.6, 0.2)
  assert shape[0] == 0
  assert shape[int(0.5 * RATE)] == pytest.approx(0.5, abs=0.01)
  assert shape[int(0.7 * RATE)] == pytest.approx(0.25, abs=0.01)
  assert not shape[int(0.8 * RATE) + 1 :].any()
  assert np.abs(np.diff(shape)).max() < 0.01  # no click


@pytest.mark.parametrize(("low", "high"), [(500, 1500), (3000, 9000), (6000, 9000)])
def test_noise_lies_in_its_band_and_below_nyquist(low, high):
  sound = signals.noise(np.random.default_rng(0), 4 * RATE, RATE, low, high)
  assert np.sqrt(np.mean(sound**2)) == pytest.approx(1, rel=1e-3)
  power, hertz = _spectrum(sound)
  inside = (hertz > 0.7 * min(low, 0.475 * RATE / 2)) & (hertz < 1.3 * high)
  assert np.sum(power[inside] ** 2) > 0.9 * np.sum(power**2)


def test_sounds_are_cut_at_the_end_of_their_track():
  track = np.zeros((2, 10), np.float32)
  signals.add(track, np.ones((2, 4), np.float32), 8 / RATE, RATE)
  signals.add(track, np.ones((2, 4), np.float32), 12 / RATE, RATE)
  assert track.sum(axis=1).tolist() == [2, 2]


def test_panning_keeps_the_power():
  sound = np.ones(5, np.float32)
  for position in (-1, -0.3, 0, 1):
    left, right = signals.pan(sound, position)[:, 0]
    assert left**2 + right**2 == pytest.approx(2, rel=1e-5)
  assert signals.pan(sound, -1)[1] == pytest.approx(0, abs=1e-6)


def test_reverberation_follows_the_sound_decays_and_is_stereo():
  room = signals.Room(np.random.default_rng(0), RATE, RATE, 0.5)
  click = np.zeros((2, RATE), np.float32)
  click[:, 1000] = 1
  echo = room.reverberate(click)
  assert echo.shape == (2, RATE)
  np.testing.assert_allclose(echo[:, :1000], 0, atol=1e-5)
  np.testing.assert_allclose(np.sum(echo**2, axis=1), 1, rtol=1e-3)
  early, late = echo[:, 1000:2000], echo[:, 4000:5000]
  assert np.sum(late**2) < 1e-3 * np.sum(early**2)
  assert abs(np.corrcoef(echo)[0, 1]) < 0.3
