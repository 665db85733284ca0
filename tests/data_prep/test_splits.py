import pytest

from data_prep.fma_metadata import FmaTrack
from data_prep.splits import split_by_hash, split_by_metadata

TRACKS = [f"folder/{number}.mp3" for number in range(40)]


def test_hash_split_partitions_with_the_shares_asked_for():
  splits = split_by_hash(TRACKS, 0.1, 0.2)
  assert {split: len(tracks) for split, tracks in splits.items()} == {
    "train": 28,
    "valid": 4,
    "test": 8,
  }
  assert sorted(track for tracks in splits.values() for track in tracks) == sorted(
    TRACKS
  )


def test_hash_split_depends_on_neither_order_nor_other_files_much():
  splits = split_by_hash(TRACKS, 0.1)
  turned = split_by_hash(TRACKS[::-1], 0.1)
  assert {s: set(t) for s, t in splits.items()} == {
    s: set(t) for s, t in turned.items()
  }
  more = split_by_hash([*TRACKS, "new.mp3"], 0.1)
  assert len(set(more["valid"]) - set(splits["valid"])) <= 1


@pytest.mark.parametrize(
  ("number", "expected"),
  [
    (1, {"train": 1}),
    (2, {"train": 1, "valid": 1}),
    (7, {"train": 6, "valid": 1}),
    (8, {"train": 6, "valid": 2}),
  ],
)
def test_few_tracks_still_give_validation(number, expected):
  splits = split_by_hash(TRACKS[:number], 0.01)
  assert {split: len(tracks) for split, tracks in splits.items()} == expected


def test_share_of_zero_means_none():
  assert split_by_hash(TRACKS, 0.0) == {"train": TRACKS}


def test_metadata_decides_on_split_and_subset():
  metadata = {
    2: FmaTrack("train", "small"),
    5: FmaTrack("valid", "medium"),
    7: FmaTrack("test", "large"),
  }
  tracks = [
    "000/000002.mp3",
    "000/000005.mp3",
    "000/000007.mp3",
    "000/000009.mp3",
    "x.mp3",
  ]
  splits, unknown = split_by_metadata(tracks, metadata, "medium")
  assert splits == {"train": ["000/000002.mp3"], "valid": ["000/000005.mp3"]}
  assert unknown == ["000/000009.mp3", "x.mp3"]
  assert split_by_metadata(tracks, metadata, "full")[0]["test"] == ["000/000007.mp3"]
