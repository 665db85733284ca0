import numpy as np
import pytest

from experiments.small_scale.splitting import compare, draw_pair

RATE = 8000


@pytest.fixture(scope="module")
def pair():
  return draw_pair("independent", 0, 2.0, RATE)


def test_a_separator_of_sources_is_told_from_one_that_undoes_the_mixing(pair):
  silence = np.zeros((4, 2, 2 * RATE))
  sources = compare(pair, np.concatenate([pair.reshape(8, 2, -1), silence]))
  mixtures = compare(pair, np.concatenate([pair.sum(axis=1), silence]))
  assert sources["stem_like"] == 1
  assert mixtures["stem_like"] == 0
  assert sources["stems_db"] == pytest.approx(60, abs=0.1)
  assert mixtures["mixtures_db"] == pytest.approx(60, abs=0.1)
  assert sources["stems_gain_db"] > sources["mixtures_gain_db"] + 20
  assert mixtures["mixtures_gain_db"] > mixtures["stems_gain_db"] + 20
  # Both restore the mixtures when outputs are summed.
  assert min(sources["remixed_db"], mixtures["remixed_db"]) > 60


def test_the_unprocessed_input_gains_nothing(pair):
  """The one output can be given to one reference only: the others get silence."""
  outputs = np.stack([pair.sum(axis=(0, 1))] * 12)
  found = compare(pair, outputs)
  assert found["stems_gain_db"] == pytest.approx(0, abs=1e-6)
  assert found["mixtures_gain_db"] == pytest.approx(0, abs=1e-6)
  assert found["remixed_db"] < 1


def test_silent_stems_count_nowhere(pair):
  muted = pair.copy()
  muted[0, 0] = 0
  outputs = muted.reshape(8, 2, -1)[1:]
  assert compare(muted, outputs)["stems_db"] == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize("kind", ["independent", "aligned", "halves"])
def test_mixtures_of_a_pair_are_equally_loud_and_differ(kind):
  pair = draw_pair(kind, 1, 2.0, RATE)
  assert pair.shape == (2, 4, 2, 2 * RATE)
  first, second = pair.sum(axis=1)
  assert np.mean(first**2) == pytest.approx(np.mean(second**2), rel=1e-3)
  assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.5


def test_aligned_songs_share_their_tones():
  """Chroma of the pitched stems: more alike than those of independent songs."""

  def likeness(kind):
    found = []
    for number in range(8):
      chroma = []
      for song in draw_pair(kind, number, 4.0, RATE):
        sound = song[[0, 2, 3]].sum(axis=(0, 1))
        power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
        heard = (hertz > 100) & (hertz < 1000)
        pitch = np.round(12 * np.log2(hertz[heard] / 440)).astype(int) % 12
        sums = np.bincount(pitch, power[heard], 12)
        chroma.append(np.sqrt(sums / sums.sum()))
      found.append(chroma[0] @ chroma[1])
    return np.mean(found)

  assert likeness("aligned") > likeness("independent") + 0.05
