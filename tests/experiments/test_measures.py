import pytest

from experiments.small_scale.figures import draw_figures
from experiments.small_scale.grid import Grid, Table
from experiments.small_scale.measures import difference, group_of, groups, score


def row(arm, seed, **songs):
  return {
    "task": {"kind": "finetune", "size": "tiny", "arm": arm, "songs": 1, "seed": seed},
    "songs": [
      {"name": name.replace("_", "-"), "usdr_mdx": {"bass": value, "drums": None}}
      for name, value in songs.items()
    ],
  }


ROWS = {
  "a0": row("a", 0, heard_01=1.0, heard_02=2.0, unheard_01=0.0),
  "a1": row("a", 1, heard_01=3.0, heard_02=4.0, unheard_01=2.0),
  "b0": row("b", 0, heard_01=2.0, heard_02=3.0, unheard_01=0.0),
}


def test_scores_are_means_over_seeds_songs_and_the_stems_that_sound():
  found = score(ROWS, "tiny", "a")
  assert found[1].mean == pytest.approx(2.0)
  assert (found[1].seeds, found[1].songs) == (2, 3)
  assert score(ROWS, "small", "a") == {}


def test_differences_are_within_songs_and_seeds_that_both_have():
  found = difference(ROWS, "tiny", "b", "a")[1]
  assert found.mean == pytest.approx(2 / 3)
  assert (found.seeds, found.songs) == (1, 3)


def test_test_songs_of_a_group_count_alone():
  assert groups(ROWS) == ["heard", "unheard"]
  heard = difference(ROWS, "tiny", "b", "a", "heard")[1]
  assert (heard.mean, heard.songs) == (1.0, 2)
  assert difference(ROWS, "tiny", "b", "a", "unheard")[1].mean == 0.0


def test_songs_that_are_all_of_a_kind_are_no_groups():
  assert groups({"a": row("a", 0, song_01=1.0, song_02=2.0)}) == []
  assert group_of("TimGM6mb-01") == "TimGM6mb"
  assert group_of("mutilated_mime") == ""


@pytest.mark.parametrize("arms", ["a", "ab"])
def test_what_is_there_is_drawn(tmp_path, arms):
  """Also when the first arm has no other to compare with yet."""
  pytest.importorskip("matplotlib")
  grid = Grid((), (Table("Both", "tiny", ("a", "b")),), {"b": "a"}, "songs")
  rows = {name: row | {"valid": [[1, 0.5, None]]} for name, row in ROWS.items()}
  draw_figures(grid, {n: r for n, r in rows.items() if n[0] in arms}, tmp_path)
  assert {file.name for file in tmp_path.iterdir()} == {"labels.png", "learning.png"}


def test_a_first_table_without_rows_is_not_drawn(tmp_path):
  pytest.importorskip("matplotlib")
  tables = (Table("Small", "small", ("a", "b")), Table("Tiny", "tiny", ("a", "b")))
  rows = {name: row | {"valid": [[1, 0.5, None]]} for name, row in ROWS.items()}
  draw_figures(Grid((), tables, {"b": "a"}, "songs"), rows, tmp_path)
  assert {file.name for file in tmp_path.iterdir()} == {"labels-2.png"}
