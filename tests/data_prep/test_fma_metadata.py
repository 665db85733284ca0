import csv

import pytest

from data_prep.fma_metadata import FmaTrack, read_tracks
from mixit_jax.errors import UserError

HEADER = [
  ["", "artist", "set", "set", "track"],
  ["", "bio", "split", "subset", "title"],
  ["track_id", "", "", "", ""],
]
# A biography over several lines that is longer than the csv module allows by default.
BIOGRAPHY = "<p>born,\nlives</p>" * 20000


def _write(path, rows):
  with path.open("w", encoding="utf-8", newline="") as file:
    csv.writer(file).writerows(rows)


@pytest.fixture
def metadata(tmp_path):
  rows = [
    ["2", BIOGRAPHY, "training", "small", "Food"],
    ["3", "", "validation", "large", "Électric, Ave"],
    ["135", "", "test", "medium", ""],
  ]
  _write(tmp_path / "tracks.csv", [*HEADER, *rows])
  return tmp_path


def test_reads_split_and_subset_of_every_track(metadata):
  limit = csv.field_size_limit()
  tracks = read_tracks(metadata)
  assert tracks == {
    2: FmaTrack("train", "small"),
    3: FmaTrack("valid", "large"),
    135: FmaTrack("test", "medium"),
  }
  assert read_tracks(metadata / "tracks.csv") == tracks
  assert csv.field_size_limit() == limit


def test_subsets_are_nested():
  track = FmaTrack("train", "medium")
  assert [track.is_in(s) for s in ("small", "medium", "large", "full")] == [
    False,
    True,
    True,
    True,
  ]


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ([], r"expected columns \(set, split\)"),
    ([["id", "title"], ["1", "x"]], r"expected columns \(set, split\)"),
    (HEADER, "lists no track"),
    ([*HEADER, ["7", "", "trainng", "small", ""]], "track 7 has no known split"),
    ([*HEADER, ["7", "", "training"]], "track 7 has no known split"),
  ],
)
def test_another_table_is_refused(tmp_path, rows, message):
  _write(tmp_path / "tracks.csv", rows)
  with pytest.raises(UserError, match=message):
    read_tracks(tmp_path)


def test_a_missing_table_is_named(tmp_path):
  with pytest.raises(UserError, match=r"tracks.csv: not found; --metadata expects"):
    read_tracks(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
  (tmp_path / "tracks.csv").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(UserError, match="cannot be read as the table of FMA"):
    read_tracks(tmp_path)
