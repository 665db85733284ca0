import numpy as np
import pytest

from data_prep.synthetic import percussion, tones, voice
from data_prep.synthetic.melodies import CHORD_STYLES, VOWELS
from data_prep.synthetic.score import Hit, Note, Syllable
from data_prep.synthetic.signals import frequency

RATE = 16000


def _power(sound):
  """Power spectrum of the sum of the channels, and its frequencies."""
  window = np.hanning(sound.shape[-1])
  mono = sound.sum(axis=0) if sound.ndim == 2 else sound
  power = np.abs(np.fft.rfft(mono * window)) ** 2
  return power, np.fft.rfftfreq(len(mono), 1 / RATE)


def _share(sound, low, high):
  power, hertz = _power(sound)
  return power[(hertz >= low) & (hertz < high)].sum() / power.sum()


def _harmonic_share(sound, pitch, cents=80):
  """Share of the power that lies near the harmonics of a pitch."""
  power, hertz = _power(sound)
  fundamental = frequency(pitch)
  order = np.maximum(np.round(hertz / fundamental), 1)
  distance = 1200 * np.abs(np.log2(np.maximum(hertz, 1) / (order * fundamental)))
  return power[distance < cents].sum() / power.sum()


@pytest.mark.parametrize("family", CHORD_STYLES)
def test_chord_instruments_play_their_notes(family):
  rng = np.random.default_rng(0)
  timbre = tones.draw_chords(rng, family, 0.5)
  sound = tones.play(rng, [Note(0.5, 1.0, 60, 0.8)], timbre, 3 * RATE, RATE)
  assert sound.dtype == np.float32
  assert _harmonic_share(sound, 60) > 0.98
  assert not sound[:, : RATE // 2].any()
  assert not sound[:, int((1.5 + timbre.release) * RATE) + 2 :].any()


@pytest.mark.parametrize("family", CHORD_STYLES)
def test_instruments_of_one_family_differ(family):
  rng = np.random.default_rng(0)
  note = [Note(0.0, 1.0, 57, 0.8)]
  levels = []
  for _ in range(6):
    sound = tones.play(rng, note, tones.draw_chords(rng, family, 0.5), RATE, RATE)
    power, hertz = _power(sound)
    bands = [power[np.abs(hertz - 220 * k) < 30].sum() for k in range(1, 7)]
    levels.append(10 * np.log10(np.array(bands) / sum(bands)))
  assert np.std(levels, axis=0).max() > 2.5


def test_strings_are_wide_and_basses_are_not():
  rng = np.random.default_rng(0)
  note = [Note(0.0, 2.0, 55, 0.8)]
  strings = tones.draw_chords(rng, "strings", 0.5)
  wide = tones.play(rng, note, strings, 2 * RATE, RATE)
  narrow = tones.play(rng, note, tones.draw_bass(rng), 2 * RATE, RATE)
  assert np.corrcoef(wide)[0, 1] < 0.8
  assert np.corrcoef(narrow)[0, 1] > 0.99


def test_basses_are_low():
  for seed in range(5):
    rng = np.random.default_rng(seed)
    note = [Note(0.0, 1.0, 33, 0.8)]
    sound = tones.play(rng, note, tones.draw_bass(rng), RATE, RATE)
    assert _share(sound, 30, 500) > 0.85


def _syllable(vowel, pitch=50):
  return Syllable(0.2, 1.2, pitch, 1.0, vowel, True, pitch - 2)


@pytest.mark.parametrize("doubled", [False, True])
def test_singers_sing_in_tune(doubled):
  rng = np.random.default_rng(3)
  singer = voice.Singer(1.0, 0.5, 30, 5.5, 0.03, 0.05, 3000, 0.1, doubled)
  sound = voice.sing(rng, [_syllable("a")], singer, 2 * RATE, RATE)
  held = sound[:, int(0.5 * RATE) : int(1.2 * RATE)]
  assert _harmonic_share(held, 50) > 0.9


def test_vowels_have_their_formants():
  """The first formant orders the vowels: i and u close, a open."""
  rng = np.random.default_rng(3)
  singer = voice.Singer(1.0, 0.5, 0.0, 5.5, 0.03, 0.0, 3000, 0.0, False)
  centers = {}
  for vowel in VOWELS:
    # After an equal vowel, so that nothing is left of the transition.
    syllables = [_syllable(vowel), Syllable(1.6, 1.0, 40, 1.0, vowel, False, 40)]
    sound = voice.sing(rng, syllables, singer, 3 * RATE, RATE)
    power, hertz = _power(sound[:, int(1.8 * RATE) : int(2.5 * RATE)])
    low = hertz < 1000
    centers[vowel] = np.sum(power[low] * hertz[low]) / power[low].sum()
  assert max(centers["i"], centers["u"]) < min(centers["e"], centers["o"])
  assert max(centers["e"], centers["o"]) < centers["a"]


def test_higher_singers_have_shorter_tracts():
  high = [voice.draw_singer(np.random.default_rng(s), True).tract for s in range(9)]
  low = [voice.draw_singer(np.random.default_rng(s), False).tract for s in range(9)]
  assert min(high) > max(low)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_drums_lie_where_they_belong(rate):
  for seed in range(4):
    kit = percussion.draw_kit(np.random.default_rng(seed), rate)
    assert set(kit) == set(percussion.PANS)
    share = {}
    for drum, sound in kit.items():
      power = np.abs(np.fft.rfft(sound)) ** 2
      hertz = np.fft.rfftfreq(len(sound), 1 / rate)
      share[drum] = power[hertz < 300].sum() / power.sum()
      assert np.isfinite(sound).all()
    assert min(share["kick"], share["low_tom"]) > 0.7
    assert max(share["hat"], share["crash"], share["ride"]) < 0.05
    assert 0.1 < share["snare"] < 0.95


def test_strokes_begin_where_the_score_says():
  hits = [Hit(0.1, "hat", 1.0), Hit(0.75, "kick", 0.5)]
  sound = percussion.play_drums(np.random.default_rng(0), hits, RATE, RATE)
  energy = np.square(sound).sum(axis=0)
  frame = RATE // 20
  for hit in hits:
    start = round(hit.start * RATE)
    before, after = energy[start - frame : start], energy[start : start + frame]
    assert after.sum() > 100 * before.sum()
    assert after.sum() > 0
