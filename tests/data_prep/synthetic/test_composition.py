import numpy as np
import pytest

from data_prep.synthetic.composition import compose
from data_prep.synthetic.harmony import MODES, Frame

SECONDS = 25.0


def _songs(number):
  return [compose(np.random.default_rng(seed), SECONDS) for seed in range(number)]


def test_the_seed_decides_on_the_song():
  first, again, other = (compose(np.random.default_rng(s), SECONDS) for s in (1, 1, 2))
  assert first == again
  assert first != other


def test_songs_differ_in_key_tempo_and_instruments():
  songs = _songs(20)
  assert len({song.tonic for song in songs}) > 5
  assert len({song.mode for song in songs}) > 2
  assert np.ptp([song.tempo for song in songs]) > 40
  assert len({tuple(part.family for part in song.other) for song in songs}) > 5


def test_every_tone_is_in_key():
  for song in _songs(10):
    scale = {(song.tonic + step) % 12 for step in MODES[song.mode]}
    notes = [*song.vocals, *song.bass, *(n for p in song.other for n in p.notes)]
    assert {note.pitch % 12 for note in notes} <= scale


def test_parts_keep_to_their_registers_and_to_the_song():
  for song in _songs(20):
    assert all(28 <= note.pitch <= 57 for note in song.bass)
    assert all(44 <= note.pitch <= 80 for note in song.vocals)
    for events in (song.vocals, song.drums, song.bass, *(p.notes for p in song.other)):
      assert events
      assert all(0 <= event.start < SECONDS for event in events)
      assert all(0 < event.velocity <= 1 for event in events)


def test_parts_pause_in_some_songs():
  gaps = {"vocals": 0, "drums": 0, "bass": 0}
  for song in _songs(20):
    for part in gaps:
      starts = [0.0, *(event.start for event in getattr(song, part)), SECONDS]
      gaps[part] += np.diff(sorted(starts)).max() > 2.5
  assert min(gaps.values()) > 3


@pytest.fixture
def frame():
  return Frame(10.0, 120.0, 4, 0.5, 2, "minor", (0, 5, 2, 6), True)


def test_steps_are_sixteenths_and_swing_delays_the_eighths_off_the_beat(frame):
  assert frame.time(0, 4) == pytest.approx(0.5)
  assert frame.time(1, 0) == pytest.approx(2.0)
  assert frame.time(0, 1) == pytest.approx(0.125)
  assert frame.time(0, 2) == pytest.approx(0.25 + 0.0625)


def test_degrees_become_pitches_of_the_scale(frame):
  d_minor = [62, 64, 65, 67, 69, 70, 72, 74]
  assert [frame.pitch(degree) for degree in range(8)] == d_minor
  assert frame.pitch(-1) == 60
  assert frame.chord_degrees(1) == (5, 7, 9, 11)
