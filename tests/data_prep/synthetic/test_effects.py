import numpy as np
import pytest

from data_prep.synthetic.effects import BANDS, Effects, draw_effects

RATE = 8000
FLAT = (0.0,) * BANDS


def _tone(hertz, seconds=1.0, rate=RATE):
  wave = np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
  return np.stack([wave, 0.5 * wave]).astype(np.float32)


def test_without_effects_nothing_changes():
  sound = _tone(440)
  same = Effects(FLAT, 0.0, (5.0, 0.0))(sound, RATE)
  np.testing.assert_allclose(same, sound, atol=1e-5)
  assert same.dtype == np.float32


@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
@pytest.mark.parametrize("band", range(1, 4))
def test_a_band_of_the_equalizer_acts_where_it_lies(band, rate):
  gains = tuple(6.0 if number == band else 0.0 for number in range(BANDS))
  effects = Effects(gains, 0.0, (5.0, 0.0))
  there, elsewhere = 60 * 2 ** (1.5 * band), 60 * 2 ** (1.5 * (band + 1))
  for hertz, decibels in ((there, 6.0), (elsewhere, 0.0)):
    sound = _tone(round(hertz), rate=rate)
    louder = effects(sound, rate)
    found = 20 * np.log10(np.std(louder) / np.std(sound))
    assert found == pytest.approx(decibels, abs=0.2)


def test_drive_adds_harmonics_and_no_silence_becomes_sound():
  driven = Effects(FLAT, 3.0, (5.0, 0.0))
  power = np.abs(np.fft.rfft(driven(_tone(200), RATE)[0])) ** 2
  assert power[600] > 0.01 * power[200]
  assert not driven(np.zeros((2, 100), np.float32), RATE).any()


def test_tremolo_moves_the_loudness():
  level = np.abs(Effects(FLAT, 0.0, (4.0, 0.5))(_tone(440), RATE)[0])
  peaks = level.reshape(-1, 80).max(axis=1)
  assert peaks.min() == pytest.approx(0.5, abs=0.03)
  assert peaks.max() == pytest.approx(1.0, abs=0.03)


def test_effects_differ_and_follow_from_the_seed():
  first, again, other = (
    draw_effects(np.random.default_rng(seed), "other") for seed in (0, 0, 1)
  )
  assert first == again
  assert first != other
  drawn = [draw_effects(np.random.default_rng(seed), "other") for seed in range(60)]
  assert 5 < sum(effects.drive > 0 for effects in drawn) < 30
  assert 3 < sum(effects.tremolo[1] > 0 for effects in drawn) < 30
