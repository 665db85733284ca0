import numpy as np
import pytest

from data_prep.sampled.arrangement import BAND, write_midi
from data_prep.synthetic.composition import Part, compose
from data_prep.synthetic.instruments import Note, Timbre

mido = pytest.importorskip("mido")

SECONDS = 4.0


def knobs(bright=1.0, body=0.0, motion=0.0):
  return Timbre(8000, 40, np.random.default_rng(0), bright, body, motion, 0.5)


def written(path, part, timbre=None, seconds=SECONDS):
  """Returns the events of a part with their times in seconds, as mido reads them."""
  write_midi(path, part, timbre or knobs(), seconds)
  now, events = 0.0, []
  file = mido.MidiFile(path)
  for event in file:
    now += event.time
    events.append((round(now, 3), event))
  assert file.length == pytest.approx(seconds)
  return events


def notes(events):
  return [(t, e.type, e.note, e.velocity) for t, e in events if e.type.startswith("no")]


def test_notes_keep_time_pitch_and_velocity(tmp_path):
  part = Part("bass", "33", 28, [Note(0.25, 0.5, 40, 1.0), Note(1.0, 0.125, 43, 0.5)])
  events = written(tmp_path / "part.mid", part)
  assert notes(events) == [
    (0.25, "note_on", 40, 127),
    (0.75, "note_on", 40, 0),
    (1.0, "note_on", 43, 64),
    (1.125, "note_on", 43, 0),
  ]
  programs = [e.program for _, e in events if e.type == "program_change"]
  assert programs == [33]


def test_a_key_that_is_struck_again_is_let_go_before(tmp_path):
  part = Part("other", "0", 40, [Note(0.0, 1.0, 60, 1.0), Note(0.5, 1.0, 60, 1.0)])
  ons = notes(written(tmp_path / "part.mid", part))
  assert [(t, v > 0) for t, _, _, v in ons] == [
    (0.0, True),
    (0.5, False),
    (0.5, True),
    (1.5, False),
  ]


def test_notes_end_with_the_song(tmp_path):
  part = Part("other", "0", 40, [Note(3.5, 9.0, 60, 1.0)])
  assert notes(written(tmp_path / "part.mid", part))[-1][0] == SECONDS


def test_drums_play_the_percussion_map_on_its_channel(tmp_path):
  strokes = [Note(0.0, 0.0, 0, 1.0, "kick"), Note(0.5, 0.0, 0, 1.0, "snare")]
  for body, keys in ((0.0, [36, 38]), (1.0, [35, 40])):
    part = Part("drums", "24", 0, strokes)
    events = written(tmp_path / "part.mid", part, knobs(body=body))
    struck = [e.note for _, e in events if e.type == "note_on" and e.velocity]
    assert struck == keys
    assert {e.channel for _, e in events if not e.is_meta} == {9}


def test_scores_can_be_arranged_whatever_their_instruments(tmp_path):
  for seed in range(5):
    for part in compose(np.random.default_rng(seed), SECONDS, BAND):
      ons = [v for _, _, _, v in notes(written(tmp_path / "p.mid", part)) if v]
      assert ons
      assert len(ons) <= len(part.notes)
