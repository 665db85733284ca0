import unicodedata

import pytest

from data_prep.splits import keep_groups_together, split_by_hash

TRACKS = [f"folder {number % 10}/{number}.mp3" for number in range(400)]


def count(splits):
  listed = list(splits.values())
  return [listed.count(split) for split in ("train", "valid", "test")]


def test_hash_split_has_about_the_shares_asked_for():
  train, valid, test = count(split_by_hash(TRACKS, 0.1, 0.2))
  assert train + valid + test == len(TRACKS)
  assert 25 <= valid <= 55
  assert 60 <= test <= 100


def test_tracks_stay_where_they_are_when_others_come():
  few = split_by_hash(TRACKS[:200], 0.1, 0.2)
  many = split_by_hash(TRACKS[::-1], 0.1, 0.2)
  assert {track: many[track] for track in few} == few


def test_the_unicode_form_of_a_name_decides_nothing():
  names = [f"Café {number}.mp3" for number in range(100)]
  forms = [[unicodedata.normalize(f, name) for name in names] for f in ("NFC", "NFD")]
  composed, decomposed = (list(split_by_hash(f, 0.3).values()) for f in forms)
  assert composed == decomposed


@pytest.mark.parametrize(
  ("number", "expected"),
  [(1, [1, 0, 0]), (2, [1, 1, 0]), (7, [6, 1, 0]), (8, [6, 2, 0])],
)
def test_few_tracks_still_give_validation(number, expected):
  assert count(split_by_hash(TRACKS[:number], 0.001)) == expected


def test_share_of_zero_means_none():
  assert count(split_by_hash(TRACKS, 0.0)) == [400, 0, 0]


def test_groups_are_never_divided():
  splits = split_by_hash(TRACKS, 0.2, 0.2, lambda track: track.split("/")[0])
  folders = {(track.split("/")[0], split) for track, split in splits.items()}
  assert len(folders) == 10
  assert min(count(splits)) > 0


def test_groups_in_several_splits_move_to_training_first():
  splits = {"a1": "train", "a2": "test", "b1": "test", "b2": "valid", "c": "test"}
  moved = keep_groups_together(splits, lambda track: track[0].replace("c", ""))
  assert moved == {
    "a1": "train",
    "a2": "train",
    "b1": "valid",
    "b2": "valid",
    "c": "test",
  }
