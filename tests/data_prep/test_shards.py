import pytest

from data_prep.shards import (
  ShardPlace,
  collect,
  place_tracks,
  read_report,
  tracks_per_shard,
  write_tracks,
)
from mixit_jax.audio.files import AudioError
from mixit_jax.errors import UserError


@pytest.fixture
def place(tmp_path):
  return ShardPlace(tmp_path, "mixture", "train", 1, 3)


def _cut(track):
  if track.startswith("bad"):
    raise AudioError(track, "is broken")
  if track.startswith("huge"):
    raise MemoryError
  yield from (f"{track}{number}".encode() for number in range(2))


def test_broken_tracks_are_left_out_with_their_reasons(place):
  write_tracks(place, ["bad1", "a", "huge", "b", "bad\udcff"], _cut)
  report = read_report(place)
  assert report.records == 4
  assert report.skipped == [
    {"file": "bad1", "reason": "is broken"},
    {"file": "huge", "reason": "does not fit into memory"},
    {"file": "bad?", "reason": "is broken"},
  ]
  assert sorted(path.name for path in place.path.parent.iterdir()) == [
    "train-00001-of-00003.arrayrecord",
    "train-00001-of-00003.json",
  ]


def test_a_shard_without_records_is_finished_and_not_listed(place):
  write_tracks(place, ["bad1"], _cut)
  assert read_report(place).records == 0
  assert not place.path.exists()
  assert collect([place]) == ({}, [{"file": "bad1", "reason": "is broken"}])


def test_collect_lists_shards_by_split_and_source(place):
  write_tracks(place, ["a"], _cut)
  entry = {"file": "mixture/train-00001-of-00003.arrayrecord", "records": 2}
  assert collect([place]) == ({"train": {"mixture": [entry]}}, [])


def test_a_shard_is_unfinished_where_it_or_its_report_is_missing_or_cut(place):
  assert read_report(place) is None
  write_tracks(place, ["a"], _cut)
  report = place.report_path.read_bytes()
  place.report_path.write_bytes(report[:-5])
  assert read_report(place) is None
  place.report_path.write_text("{}")
  assert read_report(place) is None
  place.report_path.write_bytes(report)
  assert read_report(place) is not None
  place.path.write_bytes(place.path.read_bytes()[:-1])
  assert read_report(place) is None
  place.path.unlink()
  assert read_report(place) is None
  with pytest.raises(UserError, match="vanished"):
    collect([place])


def test_the_same_tracks_give_the_same_bytes_after_a_killed_run(place, tmp_path):
  write_tracks(place, ["a", "b"], _cut)
  other = ShardPlace(tmp_path / "again", "mixture", "train", 1, 3)
  other.path.parent.mkdir(parents=True)
  left_over = other.path.with_name(f".{other.path.name}.123.tmp")
  left_over.write_bytes(b"half")
  other.path.with_name(f".{other.path.stem}.running").write_text('{"b": 1}')
  write_tracks(other, ["a", "b"], _cut)
  assert other.path.read_bytes() == place.path.read_bytes()
  assert other.report_path.read_bytes() == place.report_path.read_bytes()
  assert len(list(other.path.parent.iterdir())) == 2


def test_tracks_are_dealt_in_order(tmp_path):
  dealt = place_tracks(tmp_path, "bass", "train", list("abcde"), 2)
  assert [members for _, members in dealt] == [("a", "b"), ("c", "d"), ("e",)]
  assert [place.file for place, _ in dealt] == [
    f"bass/train-0000{number}-of-00003.arrayrecord" for number in range(3)
  ]


def test_shards_are_many_but_not_tiny():
  assert [tracks_per_shard(n) for n in (0, 1, 16, 17, 90, 100_000)] == [
    1,
    1,
    1,
    2,
    6,
    100,
  ]
