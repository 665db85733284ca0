"""What the demo says about the scores that its stages wrote."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import demo
from mixit_jax.cli import main
from mixit_jax.evaluation.results import Evaluation, SongResult
from mixit_jax.evaluation.scores import SCORES
from mixit_jax.stems import STEMS


@pytest.fixture
def run(tmp_path, monkeypatch):
  monkeypatch.setattr(demo, "RUN", tmp_path)
  (tmp_path / "pretrain").mkdir()
  lines = [
    {"group": "valid", "step": 1, "loss": -1.0, "improvement_db": 0.1},
    {"group": "train", "step": 2, "loss": -9.0, "improvement_db": 9.0},
    {"group": "valid", "step": 2, "loss": -4.0, "improvement_db": 1.25},
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "pretrain/metrics.jsonl").write_text(text)
  return tmp_path


def evaluated(run, gain):
  """Writes the scores of both arms, whose songs differ by `gain` dB and some noise."""
  rng = np.random.default_rng(0)
  scratch = rng.normal(2, 1, (12, len(STEMS)))
  both = {"scratch": scratch, "finetune": scratch + rng.normal(gain, 0.5, (12, 4))}
  for arm, table in both.items():
    songs = [
      SongResult(
        f"song-{i}", dict.fromkeys(SCORES, row), dict.fromkeys(SCORES, row - 6), 28.0
      )
      for i, row in enumerate(table)
    ]
    document = Evaluation(STEMS, tuple(songs)).to_dict()
    (run / f"{arm}.json").write_text(json.dumps(document))
  files = [str(run / f"{arm}.json") for arm in demo.ARMS]
  assert main(["evaluate", "--compare", *files, f"--json={run}/comparison.json"]) == 0
  return scratch


@pytest.mark.parametrize(
  ("gain", "verdict"), [(1.5, "Pre-training helped."), (0.0, "no clear gain")]
)
def test_the_demo_tells_how_both_arms_separate(run, gain, verdict):
  scratch = evaluated(run, gain)
  scores = demo.collect({"songs": 1.0, "pretrain": 2.0})
  summary = demo.summary(scores)
  assert verdict in summary
  assert ("make evidence" in summary) == (gain == 0)
  average = scores["scratch"]["usdr_mdx"]["average"]
  assert average == pytest.approx(scratch.mean())
  difference = scores["finetune_minus_scratch"]["usdr_mdx"]["average"]["difference"]
  assert difference == pytest.approx(gain, abs=0.3)
  for figure in (f"{average:.2f} dB", f"{difference:+.2f} dB", "1.25 dB", "3 s"):
    assert figure in summary


def test_both_arms_differ_only_in_their_start_and_their_rates():
  from configs.demo import get_config

  finetune, scratch = (get_config(arm).to_dict() for arm in ("finetune", "scratch"))
  rates = {"peak_rate": 2e-3, "warmup_steps": 50}
  assert finetune["optimizer"] | rates == scratch["optimizer"]
  assert finetune["model"] | {"num_masks": 0} == scratch["model"]
  different = {key for key in finetune if finetune[key] != scratch[key]}
  assert different == {"optimizer", "model"}
  commands = {arm: demo.STAGES[arm] for arm in demo.ARMS}
  extra = [flag for flag in commands["finetune"] if "init.run" in flag]
  assert len(commands["finetune"]) == len(commands["scratch"]) + len(extra) == 7


@pytest.mark.parametrize("document", ["README.md", "docs/results.md"])
def test_the_documents_say_what_the_demo_measured(document):
  root = Path(demo.__file__).parent
  text = (root / document).read_text("utf-8")
  stored = json.loads((root / "benchmarks/results/demo.json").read_text("utf-8"))
  more = stored["more_songs"]["usdr_mdx"]["average"]
  low, high = more["interval"]
  assert re.search(
    rf"{more['difference']:.2f} dB.{{0,40}}{low:.2f} to {high:.2f}", text
  )
  for score in ("usdr_mdx", "csdr"):
    found = stored["demo"]["finetune_minus_scratch"][score]["average"]
    if document == "README.md":
      first, second, gain = (found[k] for k in ("first", "second", "difference"))
      low, high = found["interval"]
      cells = f"{first:.2f} | {second:.2f} | {gain:+.2f} dB ({low:.2f} to {high:.2f})"
      assert cells in text
