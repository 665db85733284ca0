import numpy as np
import pytest

from data_prep.synthetic import signals

RATE = 8000


def test_concert_pitch():
  assert signals.frequency(69) == 440
  assert signals.frequency(57) == pytest.approx(220)


def test_tones_hold_their_harmonics_at_rms_1():
  levels = np.array([1.0, 0.5, 0.0, 0.25])
  sound = signals.tone(levels, 100 * signals.times(1.0, RATE))
  assert np.sqrt(np.mean(sound**2)) == pytest.approx(1, rel=1e-3)
  spectrum = np.abs(np.fft.rfft(sound))
  harmonics = spectrum[100:500:100].copy()
  np.testing.assert_allclose(harmonics / harmonics[0], levels, atol=1e-3)
  spectrum[100:500:100] = 0
  assert spectrum.max() < 0.005 * harmonics[0]


def test_envelope_rises_holds_and_ends():
  time = signals.times(1.0, RATE)
  shape = signals.envelope(time, 0.6, 0.1, 0.2)
  assert shape[0] == 0
  assert shape[int(0.05 * RATE)] == pytest.approx(0.5, abs=0.01)
  assert shape[int(0.5 * RATE)] == 1
  assert shape[int(0.7 * RATE)] == pytest.approx(0.5, abs=0.01)
  assert not shape[int(0.8 * RATE) + 1 :].any()


@pytest.mark.parametrize(
  ("low", "high"), [(500, 1500), (3000, 9000), (6000, 9000), (100, 4000)]
)
def test_noise_lies_in_its_band_and_below_nyquist(low, high):
  sound = signals.noise(np.random.default_rng(0), 3.9997, RATE, low, high)
  assert len(sound) == round(3.9997 * RATE)
  assert np.sqrt(np.mean(sound**2)) == pytest.approx(1, rel=1e-3)
  power = np.abs(np.fft.rfft(sound)) ** 2
  hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
  inside = (hertz > 0.7 * min(low, 0.23 * RATE)) & (hertz < 1.3 * high)
  assert power[inside].sum() > 0.9 * power.sum()


def test_panning_keeps_the_power():
  sound = np.ones(5, np.float32)
  for place in (-1, -0.3, 0, 1):
    left, right = signals.pan(sound, place)[:, 0]
    assert left**2 + right**2 == pytest.approx(2, rel=1e-5)
  assert signals.pan(sound, -1)[1] == pytest.approx(0, abs=1e-6)


def test_echo_follows_the_sound_decays_and_is_stereo():
  click = np.zeros((2, RATE))
  click[:, 1000] = 1
  echo = signals.room(np.random.default_rng(0), RATE, RATE, decay=0.5)(click)
  assert echo.shape == (2, RATE)
  np.testing.assert_allclose(echo[:, :1000], 0, atol=1e-6)
  np.testing.assert_allclose(np.sum(echo**2, axis=1), 1, rtol=0.1)
  early, late = echo[:, 1000:2000], echo[:, 4000:5000]
  # 60 dB in half a second are 45 dB in 3000 samples.
  fall = 10 * np.log10(np.sum(early**2) / np.sum(late**2))
  assert fall == pytest.approx(45, abs=4)
  assert abs(np.corrcoef(echo)[0, 1]) < 0.3
