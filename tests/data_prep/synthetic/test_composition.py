import numpy as np
import pytest

from data_prep.synthetic.composition import Composer, compose, draw_ensemble
from data_prep.synthetic.instruments import INSTRUMENTS, UNHEARD

SECONDS = 25.0


@pytest.fixture(scope="module")
def songs():
  return [compose(np.random.default_rng(seed), SECONDS) for seed in range(30)]


def test_every_song_has_all_stems_and_all_instruments_are_heard(songs):
  for song in songs:
    assert {part.stem for part in song} == {"vocals", "drums", "bass", "other"}
    assert 4 <= len(song) <= 6
  heard = {part.instrument for song in songs for part in song}
  assert len(heard) == sum(map(len, INSTRUMENTS.values()))


def test_another_band_plays_only_its_own_instruments():
  songs = [compose(np.random.default_rng(seed), SECONDS, UNHEARD) for seed in range(20)]
  played = {(part.stem, part.instrument) for song in songs for part in song}
  known, unheard = (
    {(stem, name) for stem in band for name in band[stem]}
    for band in (INSTRUMENTS, UNHEARD)
  )
  assert played == unheard
  assert not played & known


def test_an_ensemble_is_any_part_of_a_band():
  stems = ("vocals", "drums", "bass", "other")
  rng = np.random.default_rng(0)
  drawn = [tuple(draw_ensemble(rng, stems)) for _ in range(1000)]
  assert len(set(drawn)) == 2 ** len(stems) - 1
  assert all(sorted(chosen, key=stems.index) == list(chosen) for chosen in drawn)
  counts = np.bincount([len(chosen) for chosen in drawn])[1:]
  np.testing.assert_allclose(counts, 250, atol=60)


def test_songs_of_one_form_fit_together(songs):
  def chords(seed, form):
    composer = Composer(np.random.default_rng(seed), SECONDS, form)
    bars = range(len(composer.roots))
    return composer.step_seconds, [composer.chord(bar, 48) for bar in bars]

  first, second = (chords(seed, np.random.default_rng(5)) for seed in (1, 2))
  assert first == second
  assert chords(1, None) != chords(2, None)


def test_invented_rhythms_fill_a_bar():
  composer = Composer(np.random.default_rng(0), SECONDS)
  for _ in range(50):
    for stem, marks in (("bass", "0123"), ("other", "x0123")):
      rhythm = composer.invent_rhythm(stem)
      assert len(rhythm) == 16
      assert set(rhythm) <= set(marks + "-.")
      assert rhythm[0] in marks
      assert ".-" not in rhythm
    groove = composer.invent_groove()
    assert {len(line) for line in groove.values()} == {16}
    assert groove["kick"][0] == "X"
    assert len(groove) == 3


def test_all_parts_of_a_song_are_in_one_key_and_songs_in_many(songs):
  major = {0, 2, 4, 5, 7, 9, 11}
  keys = set()
  for song in songs:
    tones = {n.pitch % 12 for part in song if part.stem != "drums" for n in part.notes}
    fitting = [t for t in range(12) if tones <= {(t + step) % 12 for step in major}]
    assert fitting
    keys.add(fitting[0])
  assert len(keys) > 5


def test_parts_keep_to_their_registers_and_to_the_song(songs):
  compass = {"vocals": (42, 80), "bass": (27, 63), "other": (40, 91), "drums": (0, 0)}
  for song in songs:
    for part in song:
      low, high = compass[part.stem]
      assert part.notes
      for note in part.notes:
        assert low <= part.lowest <= note.pitch <= high
        assert 0 <= note.start < SECONDS
        assert 0 < note.velocity <= 1


def test_tempi_differ():
  composers = [Composer(np.random.default_rng(seed), SECONDS) for seed in range(30)]
  assert np.ptp([15 / composer.step_seconds for composer in composers]) > 40
  assert {composer.bar_steps for composer in composers} == {12, 16}


def test_parts_pause_in_some_songs_but_play_half_of_the_time(songs):
  gaps = {"vocals": 0, "drums": 0, "bass": 0, "other": 0}
  for song in songs:
    for part in song:
      starts = [0.0, *sorted(note.start for note in part.notes), SECONDS]
      gaps[part.stem] += np.diff(starts).max() > 3.5
      played = {int(start) for start in starts[1:-1]}
      assert len(played) > SECONDS / 5
  assert min(gaps.values()) > 3


@pytest.fixture
def composer():
  composer = Composer(np.random.default_rng(0), SECONDS)
  composer.step_seconds, composer.bar_steps, composer.swing = 0.125, 16, 0.5
  return composer


def test_rhythms_are_read_by_sixteenths(composer):
  notes = list(composer.read(1, "x--.y..-z"))
  assert notes == [(2.0, 0.375, "x"), (2.5, 0.125, "y"), (3.0, 0.125, "z")]


def test_eighths_off_the_beat_swing(composer):
  starts = [start for start, _, _ in composer.read(0, "xxxx")]
  assert starts == [0.0, 0.125, 0.3125, 0.375]


def test_rhythms_end_with_the_bar(composer):
  composer.bar_steps = 12
  assert len(list(composer.read(0, "x" * 16))) == 12
