import numpy as np
import pytest

from mixit_jax.audio.activity import active_segments, is_mostly_silent, segment_starts

RATE = 100


def seconds(*levels):
  """Stereo noise, one second at each level (root mean square)."""
  noise = np.sign(np.random.default_rng(0).standard_normal((2, len(levels) * RATE)))
  return (noise * np.repeat(levels, RATE)).astype(np.float32)


def test_segments_are_whole():
  assert segment_starts(25, 10, 5) == [0, 5, 10, 15]
  assert segment_starts(24, 10, 5) == [0, 5, 10]
  assert segment_starts(10, 10, 5) == [0]
  assert segment_starts(9, 10, 5) == []


@pytest.mark.parametrize(("silent", "dropped"), [(0, False), (5, False), (6, True)])
def test_a_segment_is_dropped_when_more_than_five_of_ten_seconds_are_silent(
  silent, dropped
):
  levels = [0.0] * silent + [0.1] * (10 - silent)
  assert is_mostly_silent(seconds(*levels), RATE) is dropped


def test_a_second_is_silent_below_60_db_of_full_scale():
  assert is_mostly_silent(seconds(*[0.99e-3] * 10), RATE)
  assert not is_mostly_silent(seconds(*[1.01e-3] * 10), RATE)
  assert is_mostly_silent(seconds(*[0.09] * 10), RATE, threshold_db=-20.0)


def test_power_is_the_mean_of_the_channels():
  one_sided = seconds(*[0.01] * 10)
  one_sided[1] = 0
  assert not is_mostly_silent(one_sided, RATE)
  antiphase = np.stack([one_sided[0], -one_sided[0]])
  assert not is_mostly_silent(antiphase, RATE)


def test_silence_of_segments_of_other_lengths_is_judged_by_its_share():
  assert is_mostly_silent(seconds(0, 0, 0, 0.1, 0.1), RATE)
  assert not is_mostly_silent(seconds(0, 0, 0.1, 0.1), RATE)
  assert is_mostly_silent(seconds(0, 0, 0.1)[:, : 2 * RATE + 1], RATE)
  assert not is_mostly_silent(seconds(0, 0.1)[:, RATE:-1], RATE)


def test_active_segments_equal_the_reference(fixtures):
  with np.load(fixtures / "source_activity.npz") as reference:
    sample_rate = int(reference["segment"]) // 8
    starts, threshold = active_segments(reference["audio"].T, sample_rate)
    np.testing.assert_array_equal(starts, reference["kept"] * 4 * sample_rate)
    assert threshold == reference["threshold"]


def test_threshold_is_the_quantile_of_the_chunk_energies():
  # One segment of ten seconds has chunks of one second with energies 200 * level^2.
  levels = np.sqrt(np.arange(1, 11) / 10)
  starts, threshold = active_segments(seconds(*levels), RATE, 10, 10)
  assert starts == [0]
  np.testing.assert_allclose(threshold, 20 * np.quantile(np.arange(1, 11), 0.15))


def test_a_segment_needs_five_loud_chunks():
  quiet = 1e-4
  loud_from_start = [1.0] * 5 + [quiet] * 5
  kept, _ = active_segments(seconds(*loud_from_start, *[1.0] * 10), RATE, 10, 10)
  assert kept == [0, 10 * RATE]
  loud_from_start[4] = quiet
  kept, _ = active_segments(seconds(*loud_from_start, *[1.0] * 10), RATE, 10, 10)
  assert kept == [10 * RATE]


def test_silent_and_short_stems_have_no_active_segments():
  assert active_segments(np.zeros((2, 20 * RATE), np.float32), RATE) == ([], 1e-3)
  assert active_segments(seconds(*[1.0] * 7), RATE) == ([], 1e-3)
