import json

import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.evaluation.results import Evaluation, SongResult
from mixit_jax.evaluation.scores import SCORES
from mixit_jax.inference.card_scores import card_scores
from mixit_jax.inference.exporting import export
from mixit_jax.weights.folder import load_description


@pytest.fixture
def scores(tmp_path):
  draw = np.random.default_rng(0)
  songs = [
    SongResult(
      f"song {i}",
      {score: np.array([draw.normal(5, 2), 3.0]) for score in SCORES},
      {score: np.zeros(2) for score in SCORES},
      1.0,
    )
    for i in range(40)
  ]
  file = tmp_path / "scores.json"
  file.write_text(json.dumps(Evaluation(("a", "b"), tuple(songs)).to_dict()))
  return file


def test_intervals_are_those_of_the_mean(scores):
  found = card_scores(scores)
  assert found["songs"] == "40 songs"
  rows = {(row["score"], row["stem"]): row for row in found["rows"]}
  values = [song["usdr_mdx"]["a"] for song in json.loads(scores.read_text())["songs"]]
  row = rows["usdr_mdx", "a"]
  assert row["value"] == pytest.approx(np.mean(values), abs=0.006)
  half = 1.96 * np.std(values) / np.sqrt(len(values))  # of the normal approximation
  assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.15)
  assert rows["csdr", "b"]["low"] == rows["csdr", "b"]["high"] == 3.0
  assert ("usdr_mdx", "average") in rows


def test_another_document_is_refused(tmp_path):
  (tmp_path / "x.json").write_text("{}")
  with pytest.raises(UserError, match=r"--scores.*evaluate --json"):
    card_scores(tmp_path / "x.json")
  document = Evaluation(("a",), (), unfinished=("song",)).to_dict()
  (tmp_path / "x.json").write_text(json.dumps(document))
  with pytest.raises(UserError, match="1 songs are not scored yet"):
    card_scores(tmp_path / "x.json")


def test_an_export_carries_scores_on(finetuned, scores, tmp_path):
  export(finetuned, tmp_path / "a", scores=scores)
  export(tmp_path / "a", tmp_path / "b")
  assert load_description(tmp_path / "b").card["scores"] == card_scores(scores)
