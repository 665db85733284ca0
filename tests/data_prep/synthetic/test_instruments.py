import numpy as np
import pytest

from data_prep.synthetic.instruments import DRUMS, INSTRUMENTS, UNHEARD, Note, Timbre

RATE = 8000
ALL = {stem: INSTRUMENTS[stem] | UNHEARD[stem] for stem in INSTRUMENTS}
PITCHED = [(stem, name) for stem in ("vocals", "bass", "other") for name in ALL[stem]]
PITCHES = {"vocals": 57, "bass": 33, "other": 60}


def _play(stem, name, knobs=(0.5, 0.5, 0.5, 0.5), sound="a", seconds=1.0, rate=RATE):
  timbre = Timbre(rate, 50, np.random.default_rng(0), *knobs)
  pitch = PITCHES.get(stem, 0)
  return ALL[stem][name](Note(0, seconds, pitch, 1.0, sound), timbre)


def _power(sound):
  """Power [F] of the first channel and its frequencies [F]."""
  sound = np.atleast_2d(sound)[0]
  power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
  return power, np.fft.rfftfreq(len(sound), 1 / RATE)


@pytest.mark.parametrize("knobs", [(0.0,) * 4, (1.0,) * 4])
@pytest.mark.parametrize(("stem", "name"), PITCHED)
def test_instruments_are_in_tune(stem, name, knobs):
  """Nearly all power lies within a semitone of a harmonic."""
  power, hertz = _power(_play(stem, name, knobs))
  fundamental = 440 * 2 ** ((PITCHES[stem] - 69) / 12)
  order = np.maximum(np.round(hertz / fundamental), 1)
  near = np.abs(np.log2(np.maximum(hertz, 1) / order / fundamental)) < 1 / 12
  assert power[near].sum() > 0.9 * power.sum()
  assert power[near & (order == 1)].sum() > 1e-4 * power.sum()


@pytest.mark.parametrize(("stem", "name"), PITCHED)
def test_notes_last_as_long_as_they_are_held(stem, name):
  short, long = (_play(stem, name, seconds=seconds) for seconds in (0.5, 1.0))
  assert long.shape[-1] - short.shape[-1] == RATE / 2
  assert short.shape[-1] < 1.1 * RATE
  assert np.abs(short[..., -1]).max() < 0.01 * np.abs(short).max()


@pytest.mark.parametrize("name", ALL["bass"])
def test_basses_are_low(name):
  power, hertz = _power(_play("bass", name, (1.0, 0.5, 0.5, 0.5)))
  assert power[(hertz > 30) & (hertz < 500)].sum() > 0.85 * power.sum()


@pytest.mark.parametrize(("stem", "name"), PITCHED)
def test_the_knobs_change_the_timbre(stem, name):
  dull, bright = (_power(_play(stem, name, (b, 0.5, 0.5, 0.5))) for b in (0.0, 1.0))
  centers = [np.sum(power * hertz) / power.sum() for power, hertz in (dull, bright)]
  assert centers[1] > 1.03 * centers[0]


@pytest.mark.parametrize("stem", ["bass", "other"])
def test_instruments_of_a_stem_differ(stem):
  """In how the power is spread over time and frequency."""
  pictures = []
  for name in ALL[stem]:
    picture = []
    for start in range(0, RATE, RATE // 8):
      piece = np.atleast_2d(_play(stem, name))[0, start : start + RATE // 8]
      power = np.abs(np.fft.rfft(piece)) ** 2
      hertz = np.fft.rfftfreq(len(piece), 1 / RATE)
      picture.append(np.histogram(hertz, np.geomspace(20, 4000, 20), weights=power)[0])
    pictures.append(np.sqrt(np.ravel(picture) / np.sum(picture)))
  likeness = np.array(pictures) @ np.array(pictures).T
  assert np.max(likeness - np.eye(len(pictures))) < 0.99


def test_vowels_have_their_formants():
  """The first formant orders the vowels: i and u are close, a is open."""
  centers = {}
  for vowel in "aeiou":
    power, hertz = _power(_play("vocals", "singer", (0.5, 0.0, 0.0, 0.5), vowel))
    low = hertz < 1000
    centers[vowel] = np.sum((power * hertz)[low]) / power[low].sum()
  assert max(centers["i"], centers["u"]) < min(centers["e"], centers["o"])
  assert max(centers["e"], centers["o"]) < centers["a"]


def test_syllables_may_begin_with_a_hiss():
  plain, hissed = (_play("vocals", "singer", sound=sound) for sound in ("a", "sa"))
  start = slice(RATE // 50, RATE // 12)
  high = [np.diff(sound[0, start], 4).std() for sound in (plain, hissed)]
  assert high[1] > 2 * high[0]


def test_a_duet_is_wide_and_a_singer_is_not():
  assert len(_play("vocals", "singer")) == 1
  left, right = _play("vocals", "duet")
  assert np.corrcoef(left, right)[0, 1] < 0.95


@pytest.mark.parametrize("name", ALL["drums"])
@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
def test_drums_lie_where_they_belong(name, rate):
  low = {}
  for drum in DRUMS:
    sound = _play("drums", name, sound=drum, seconds=0.0, rate=rate).sum(axis=0)
    power = np.abs(np.fft.rfft(sound)) ** 2
    hertz = np.fft.rfftfreq(len(sound), 1 / rate)
    low[drum] = power[hertz < 300].sum() / power.sum()
    # Struck at once, and gone at the end.
    level = np.square(sound).reshape(-1)
    tenth = len(level) // 10
    assert level[:tenth].mean() > 100 * level[-tenth:].mean()
  assert min(low["kick"], low["tom"]) > 0.5
  assert max(low["hat"], low["open"], low["crash"], low["ride"]) < 0.05
  assert low["hat"] < low["snare"] < low["kick"]
