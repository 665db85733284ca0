"""`mixit-jax plot`, without a display."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mixit_jax.cli import main
from mixit_jax.errors import UserError
from mixit_jax.evaluation.results import Evaluation, SongResult
from mixit_jax.evaluation.scores import SCORES
from mixit_jax.files import nan_to_null, write_json
from mixit_jax.plots.command import short_names
from mixit_jax.plots.curves import read_curves

STEMS = ("bass", "vocals")


@pytest.fixture(autouse=True)
def no_display(monkeypatch):
  """Nothing may ask for a window."""
  pytest.importorskip("matplotlib")
  monkeypatch.delenv("DISPLAY", raising=False)
  monkeypatch.setenv("MPLBACKEND", "an impossible backend")


def write_run(folder, steps=40, **more):
  """A run that has reported losses, the last of them torn by a kill."""
  folder.mkdir(parents=True)
  lines = [
    {"group": "train", "step": step, "loss": -step / 9, "grad_norm": None}
    for step in range(1, steps)
  ]
  for step in range(10, steps, 10):
    values = {"loss": -step / 10, "output_energy_db": [1.0, 2.0]} | more
    lines.append({"group": "valid", "step": step} | values)
  text = "".join(json.dumps(nan_to_null(line)) + "\n" for line in lines)
  (folder / "metrics.jsonl").write_text(text + '{"group": "tra')
  return folder


def write_scores(file, songs=6):
  """Scores with a silent stem and a perfect estimate."""
  random = np.random.default_rng(songs)
  results = []
  for number in range(songs):
    scores = {
      kind: {score: random.normal(6, 2, 2) for score in SCORES}
      for kind in ("estimates", "mixture")
    }
    results.append(SongResult(f"song {number}", **scores, seconds=1.0))
  results[0].estimates["usdr_mdx"][:] = np.nan, np.inf
  write_json(file, Evaluation(STEMS, tuple(results)).to_dict())
  return file


def write_votes(file):
  votes = [[1, 0, 7], [5, 0, 1]]
  write_json(file, {"stems": STEMS, "outputs": [2, 0], "votes": votes})
  return file


def texts(file):
  """All texts of an SVG whose letters are text."""
  return {e.text for e in ElementTree.parse(file).iter() if e.tag.endswith("text")}


def test_runs_scores_and_selections_become_figures(tmp_path, capsys, monkeypatch):
  import matplotlib as mpl

  monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")
  one = write_run(tmp_path / "runs/one", improvement_db=1.0)
  two = write_run(tmp_path / "runs/two", usdr=5.0)
  write_votes(one / "channel_selection.json")
  write_votes(two / "channel_selection.json")  # the same: drawn once
  files = [write_scores(tmp_path / "a.json"), write_scores(tmp_path / "b.json", 2)]
  out = tmp_path / "deep/plots"
  sources = list(map(str, [one, two, *files]))
  for kind in ("png", "svg"):
    assert main(["plot", *sources, f"--out={out}", f"--format={kind}"]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    names = [f"{name}.{kind}" for name in ("curves", "selection-one", "scores")]
    assert [file.name for file in written] == names
  assert len(list(out.iterdir())) == 6
  for file in out.glob("*.png"):
    with Image.open(file) as image:
      pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20  # something is drawn
  curves = {"one", "two", "Loss in dB", "MixIT: dB better than trivial outputs"}
  assert curves | {"uSDR of validation songs in dB"} <= texts(out / "curves.svg")
  assert {*STEMS, "7", "5", "2"} <= texts(out / "selection-one.svg")
  assert {"a", "b", *STEMS, "Scores of 6 songs"} <= texts(out / "scores.svg")
  before = {file: file.read_bytes() for file in out.glob("*.svg")}
  assert main(["plot", *sources, f"--out={out}", "--format=svg"]) == 0
  assert before == {file: file.read_bytes() for file in out.glob("*.svg")}


def test_curves_are_the_finite_numbers_that_a_run_has_reported(tmp_path):
  found = read_curves(write_run(tmp_path / "run", usdr=float("nan")))
  assert set(found) == {("train", "loss"), ("valid", "loss")}
  steps, values = found["valid", "loss"]
  np.testing.assert_array_equal(steps, [10, 20, 30])
  np.testing.assert_allclose(values, [-1, -2, -3])


def test_names_are_as_short_as_they_can_be(tmp_path):
  assert short_names([Path("runs/a"), Path("b.json")]) == ["a", "b"]
  assert short_names([Path("x/a"), Path("y/a")]) == ["x/a", "y/a"]
  assert short_names([Path("x/a.json"), Path("x/a")]) == ["a.json", "a"]
  with pytest.raises(UserError, match="is given twice"):
    short_names([Path("a"), Path("./a")])


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("empty", "metrics.jsonl cannot be read"),
    ("young", "holds no losses yet"),
    ("nowhere.json", "cannot be read"),
    ("text.json", "is not valid JSON"),
    ("other.json", "expected what `evaluate --json`"),
    ("votes.json", "holds no channel selection"),
  ],
)
def test_what_cannot_be_drawn_ends_with_one_line(name, words, tmp_path, capsys):
  (tmp_path / "empty").mkdir()
  (tmp_path / "young").mkdir()
  (tmp_path / "young/metrics.jsonl").write_text("{}\n")
  (tmp_path / "text.json").write_text("no")
  write_json(tmp_path / "other.json", {"a": 1})
  write_json(tmp_path / "votes.json", {"stems": [], "outputs": [4], "votes": [[1]]})
  assert main(["plot", str(tmp_path / name), f"--out={tmp_path}/out"]) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ")
  assert words in line
  assert not list(tmp_path.glob("out/*"))


def test_without_matplotlib_the_extra_is_named(tmp_path):
  run = write_run(tmp_path / "run")
  script = """
import sys
sys.modules["matplotlib"] = None  # its import fails
from mixit_jax.cli import main
sys.exit(main(["plot", sys.argv[1], "--out", sys.argv[2]]))
"""
  done = subprocess.run(
    [sys.executable, "-c", script, run, tmp_path / "out"],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  assert done.stderr == "error: plots need: pip install 'mixit-jax[plot]'\n"
