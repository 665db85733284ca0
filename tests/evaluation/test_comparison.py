"""Intervals over songs, and paired differences of two evaluations."""

import json

import numpy as np
import pytest

from mixit_jax.cli import main
from mixit_jax.errors import UserError
from mixit_jax.evaluation.comparison import compare
from mixit_jax.evaluation.intervals import bootstrap
from mixit_jax.evaluation.results import Evaluation, SongResult, read_evaluation
from mixit_jax.evaluation.scores import SCORES
from mixit_jax.evaluation.summaries import summary_of


def evaluation(values, stems=("a", "b"), first=0):
  """An evaluation in which every score of song i is values[i]."""
  songs = [
    SongResult(
      f"song {first + i}",
      dict.fromkeys(SCORES, np.array(row, float)),
      dict.fromkeys(SCORES, np.zeros(len(stems))),
      1.0,
    )
    for i, row in enumerate(values)
  ]
  return Evaluation(stems, tuple(songs))


def means(tables):
  return summary_of("mean", tables)


def test_intervals_cover_the_true_mean_as_often_as_they_say():
  random = np.random.default_rng(0)
  covered = 0
  for _ in range(300):
    low, high = bootstrap(means, random.normal(0, 1, (40, 1)), 300)[:, 0]
    covered += low <= 0 <= high
  # 95 % less what the percentile method lacks with 40 songs; 3 standard errors.
  assert 0.895 <= covered / 300 <= 0.98


def test_intervals_are_the_percentiles_of_resampled_summaries():
  table = np.random.default_rng(1).normal(5, 2, (12, 2))
  draws = np.random.default_rng(0).integers(12, size=(500, 12))
  for how, function in (("mean", np.mean), ("median", np.median)):
    found = bootstrap(lambda t, how=how: summary_of(how, t), table, 500)
    resampled = np.array([function(table[draw], axis=0) for draw in draws])
    expected = np.percentile(resampled, (2.5, 97.5), axis=0)
    np.testing.assert_allclose(found[:, :2], expected)
    average = np.percentile(resampled.mean(axis=1), (2.5, 97.5))
    np.testing.assert_allclose(found[:, 2], average)


def test_one_song_has_no_interval():
  assert np.isnan(bootstrap(means, np.ones((1, 3)))).all()
  one = np.array([[1.0, 2.0], [np.nan, 3.0]])
  ends = bootstrap(means, one)
  assert np.isnan(ends[:, 0]).all()
  np.testing.assert_array_equal(ends[:, 1], [2.0, 3.0])


def test_a_small_difference_within_songs_is_seen_between_differing_songs():
  random = np.random.default_rng(0)
  base = random.normal(5, 4, (30, 2))
  better = base + random.normal(0.3, 0.1, base.shape)
  result = compare(evaluation(base), evaluation(better)).to_dict()
  for score in ("usdr_mdx", "usdr_per_channel"):
    row = result["differences"][score]["a"]
    assert row["difference"] == pytest.approx((better - base)[:, 0].mean())
    low, high = row["interval"]
    assert 0.2 < low < row["difference"] < high < 0.4
    assert row["second_better"] == np.count_nonzero((better > base)[:, 0])
    # By themselves, the two intervals overlap.
    alone = [bootstrap(means, table)[:, 0] for table in (base, better)]
    assert alone[0][1] > alone[1][0]
  # Of medians, the difference of the medians.
  row = result["differences"]["csdr"]["average"]
  medians = np.median(better, axis=0) - np.median(base, axis=0)
  assert row["difference"] == pytest.approx(medians.mean())


def test_songs_and_stems_of_one_side_are_left_out():
  first = evaluation([[1, 2], [3, np.nan], [5, 6]])
  second = evaluation([[4, 4], [8, 8]], ("b", "c"), first=1)
  result = compare(first, second)
  assert result.stems == ("b",)
  assert result.songs == ("song 1", "song 2")
  assert result.only == (("song 0",), ())
  row = result.to_dict()["differences"]["usdr_mdx"]["b"]
  assert (row["first"], row["second"], row["songs"]) == (6, 8, 1)
  with pytest.raises(UserError, match="no song"):
    compare(first, evaluation([[1, 2]], first=9))
  with pytest.raises(UserError, match="the stems are"):
    compare(first, evaluation([[1, 2]], ("x", "y")))


def test_the_command_compares_files(tmp_path, capsys):
  values = np.random.default_rng(0).normal(5, 2, (6, 2))
  files = [tmp_path / "a.json", tmp_path / "b.json"]
  for number, file in enumerate(files):
    file.write_text(json.dumps(evaluation(values + number).to_dict()))
  out = tmp_path / "difference.json", tmp_path / "difference.csv"
  flags = [f"--json={out[0]}", f"--csv={out[1]}"]
  assert main(["evaluate", "--compare", *map(str, files), *flags]) == 0
  assert "6 of 6" in capsys.readouterr().out
  difference = json.loads(out[0].read_text())["differences"]["csdr"]["average"]
  assert difference["difference"] == pytest.approx(1.0)
  assert len(out[1].read_text().splitlines()) == 13
  assert main(["evaluate", "--compare", *map(str, files), *flags]) == 1
  assert "--overwrite" in capsys.readouterr().err


def test_a_document_comes_back(tmp_path):
  values = [[np.inf, 2.5], [np.nan, -3]]
  first = evaluation(values)
  file = tmp_path / "a.json"
  file.write_text(json.dumps(first.to_dict()))
  again = read_evaluation(file)
  for score in SCORES:
    np.testing.assert_array_equal(again.table(score), first.table(score))
  assert again.to_dict() == first.to_dict()
