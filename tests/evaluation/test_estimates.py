"""`mixit-jax evaluate --estimates`: anybody's stems against references."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from evaluation.song_files import RATE, STEMS

from mixit_jax.audio.files import write_audio
from mixit_jax.cli import main
from mixit_jax.errors import UserError
from mixit_jax.evaluation.scores import SCORES, StreamedScores, csdr, usdr

# Processes in the background of a shell ignore Ctrl-C, and hand that on to tests.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mixit_jax.cli import main
sys.exit(main())
"""


def evaluate(*flags):
  return main(["evaluate", *map(str, flags)])


def scored(file):
  return json.loads(file.read_text())


@pytest.mark.parametrize("length", [1, RATE - 1, RATE, RATE + 1, 3 * RATE + 77])
@pytest.mark.parametrize("block", [1 << 20, 999])
def test_scores_of_blocks_are_those_of_the_whole_song(songs, length, block):
  references, estimates = songs.add("a", length=length)
  streamed = StreamedScores(RATE)
  for start in range(0, length, block):
    part = (..., slice(start, start + block))
    streamed.add(references[part], estimates[part])
  found = streamed.scores()
  expected = {
    "usdr_mdx": usdr(references, estimates),
    "usdr_per_channel": usdr(references, estimates, "per_channel"),
    "csdr": csdr(references, estimates, RATE),
  }
  for score in SCORES:
    np.testing.assert_allclose(found[score], expected[score], atol=1e-9)


@pytest.mark.parametrize("place", [0, RATE + 1])  # in a whole second, in the last
def test_scores_of_what_is_not_finite_are_refused(songs, place):
  references, estimates = songs.add("a", length=RATE + 2)
  estimates[0, 0, place] = np.nan

  def score():
    streamed = StreamedScores(RATE)
    streamed.add(references, estimates)
    streamed.scores()

  with pytest.raises(UserError, match="not finite"):
    score()


def test_every_song_and_stem_is_scored_without_a_model(songs, tmp_path, capsys):
  pairs = {name: songs.add(name, seed) for seed, name in enumerate("cab")}
  # Where separating `b/mixture.wav` leaves its results.
  moved = (songs.estimates / "b").rename(tmp_path / "moved")
  (songs.estimates / "b").mkdir()
  moved.rename(songs.estimates / "b/mixture")
  files = tmp_path / "s.json", tmp_path / "s.csv"
  flags = [f"--json={files[0]}", f"--csv={files[1]}", "--per-song", "--jobs=2"]
  assert evaluate(*songs.flags, *flags) == 0
  result = scored(files[0])
  assert [song["name"] for song in result["songs"]] == ["a", "b", "c"]
  for song in result["songs"]:
    references, estimates = pairs[song["name"]]
    for score, expected in (
      ("usdr_mdx", usdr(references, estimates)),
      ("csdr", csdr(references, estimates, RATE)),
    ):
      values = [song[score][stem] for stem in STEMS]
      np.testing.assert_allclose(values, expected, atol=1e-6)
    mixture = np.broadcast_to(references.sum(axis=0), references.shape)
    values = [song["mixture"]["usdr_mdx"][stem] for stem in STEMS]
    np.testing.assert_allclose(values, usdr(references, mixture), atol=1e-4)
  # Means of uSDR, medians of cSDR; both are there.
  table = np.array([[s["csdr"][stem] for stem in STEMS] for s in result["songs"]])
  for n, stem in enumerate(STEMS):
    assert result["estimates"]["csdr"][stem] == pytest.approx(np.median(table[:, n]))
    assert result["over_songs"]["mean"]["csdr"][stem] == pytest.approx(
      table[:, n].mean()
    )
    low, high = result["intervals"]["csdr"][stem]
    assert low <= result["estimates"]["csdr"][stem] <= high
  rows = list(csv.DictReader(files[1].read_text().splitlines()))
  assert len(rows) == 12
  assert float(rows[0]["usdr_mdx"]) == pytest.approx(
    result["songs"][0]["usdr_mdx"]["bass"], abs=1e-4
  )
  shown = capsys.readouterr()
  assert "3 songs; uSDR: mean over songs, cSDR: median" in shown.out
  assert not [line for line in shown.err.splitlines() if "warning" in line]
  assert [line.split()[0] for line in shown.out.splitlines()[-3:]] == ["a", "b", "c"]


def test_a_song_that_cannot_be_scored_is_named_and_counts_nowhere(
  songs, tmp_path, capsys
):
  for seed, name in enumerate(["broken", "good", "late", "missing", "rate", "nan"]):
    songs.add(name, seed)
  (songs.songs / "broken/bass.wav").write_bytes(b"no audio")
  write_audio(songs.estimates / "late/bass.wav", np.zeros((2, 5 * RATE)), RATE)
  (songs.estimates / "missing/drums.wav").unlink()
  write_audio(songs.estimates / "rate/bass.wav", np.zeros((2, 4 * RATE)), 11_025)
  import soundfile

  soundfile.write(
    songs.estimates / "nan/bass.wav",
    np.full((3 * RATE + 77, 2), np.nan),
    RATE,
    subtype="FLOAT",
  )
  file = tmp_path / "s.json"
  assert evaluate(*songs.flags, f"--json={file}") == 1
  shown = capsys.readouterr()
  result = scored(file)
  assert [song["name"] for song in result["songs"]] == ["good"]
  assert sorted(result["failed"]) == ["broken", "late", "missing", "nan", "rate"]
  for name, words in {
    "broken": "bass.wav",
    "late": "equal length",
    "missing": "no estimate of drums",
    "nan": "not finite",
    "rate": "11025 Hz",
  }.items():
    assert words in result["failed"][name]
    assert f"not scored, and left out: {name}: " in shown.out
  assert "1 of 6 songs; uSDR" in shown.out
  assert shown.err.splitlines()[-1] == "error: 5 of 6 songs could not be scored"


def test_silence_is_said_in_words(songs, tmp_path, capsys):
  songs.add("a", 0, gains=(1, 1, 0, 1))
  songs.add("b", 1, gains=(1, 0, 0, 1))
  file = tmp_path / "s.json"
  assert evaluate(*songs.flags, f"--json={file}") == 0
  shown = capsys.readouterr().out
  assert "vocals is silent in all 2 songs: it has no score" in shown
  assert "drums is silent in 1 of 2 songs, which are left out" in shown
  assert "cSDR needs seconds in which every stem sounds: no song has any" in shown
  result = scored(file)
  assert result["silent"] == ["vocals"]
  values = [
    result["estimates"]["usdr_mdx"][stem] for stem in ("bass", "drums", "other")
  ]
  assert result["estimates"]["usdr_mdx"]["average"] == pytest.approx(np.mean(values))
  assert result["intervals"]["usdr_mdx"]["drums"] == [None, None]


def test_estimates_without_error_are_infinite(songs, tmp_path, capsys):
  songs.add("a", error=0.0)
  file = tmp_path / "s.json"
  assert evaluate(*songs.flags, f"--json={file}") == 0
  assert scored(file)["estimates"]["usdr_mdx"]["bass"] == "inf"
  assert evaluate("--compare", file, file) == 0
  assert "inf" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("mixture", "words"),
  [
    (lambda x: x, ""),
    (lambda x: np.round(x * 2**15) / 2**15, ""),
    (lambda x: 0.5 * x, "differ by 0 dB of the mixture; it is 6.0 dB quieter"),
    (lambda x: np.pad(x, ((0, 0), (40, 0)))[:, :-40], "40 samples (5.0 ms) late"),
    (lambda x: np.pad(x, ((0, 0), (0, 3)))[:, 3:], "3 samples (0.4 ms) early"),
    (lambda x: -x, "it is inverted"),
    (lambda x: 0 * x, "the mixture is silent"),
  ],
)
def test_a_mixture_that_is_not_the_sum_is_reported_with_the_figure(
  songs, mixture, words, capsys
):
  songs.add("a", mixture=mixture)
  assert evaluate(*songs.flags) == 0
  lines = [x for x in capsys.readouterr().err.splitlines() if "mixture" in x]
  assert len(lines) == bool(words)
  if words:
    assert lines[0].startswith("a: ")
    assert words in lines[0]


def test_a_nearly_silent_reference_is_reported_with_the_figure(songs, capsys):
  songs.add("a", gains=(1, 1, 1e-4, 1))
  assert evaluate(*songs.flags) == 0
  assert "a: vocals is nearly silent (-85 dB of the mixture)" in capsys.readouterr().err


def test_an_evaluation_goes_on_where_it_stopped(songs, tmp_path, capsys, monkeypatch):
  for seed, name in enumerate("abc"):
    songs.add(name, seed)
  moved = shutil.move(songs.songs / "c", tmp_path / "c")
  file = tmp_path / "s.json"
  flags = [*songs.flags, f"--json={file}"]
  assert evaluate(*flags) == 0
  first = scored(file)
  shutil.move(moved, songs.songs / "c")
  songs.add("b", 5)
  capsys.readouterr()
  assert evaluate(*flags) == 0
  assert "1 of 3 songs were scored before" in capsys.readouterr().err
  second = scored(file)
  assert second["songs"][0] == first["songs"][0]
  assert second["songs"][1]["usdr_mdx"] != first["songs"][1]["usdr_mdx"]
  assert len(second["songs"]) == 3
  before = file.read_text()
  assert evaluate(*flags, "--stems=bass,drums") == 1
  assert "--overwrite" in capsys.readouterr().err
  assert file.read_text() == before
  assert evaluate(*flags, "--stems=bass,drums", "--overwrite") == 0
  file.write_text("{}")
  assert evaluate(*flags) == 1
  assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_evaluation_and_keeps_what_is_scored(songs, tmp_path, number):
  for seed in range(40):
    songs.add(f"song {seed:02d}", seed, length=20 * RATE)
  file = tmp_path / "s.json"
  command = [sys.executable, "-c", COMMAND, "evaluate", *songs.flags, "--jobs=1"]
  process = subprocess.Popen(
    [*command, f"--json={file}"],
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, "XLA_FLAGS": ""},
  )
  while not file.exists() and process.poll() is None:
    time.sleep(0.01)
  process.send_signal(number)
  _, said = process.communicate(timeout=60)
  assert process.returncode == (143 if number == signal.SIGTERM else 130)
  assert "Traceback" not in said
  result = scored(file)
  assert result["songs"]
  assert result["unfinished"]
  assert len(result["songs"]) + len(result["unfinished"]) == 40
  assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    ([], "give a RUN or --estimates=DIR"),
    (["run", "--estimates=x"], "not both"),
    (["--estimates=ESTIMATES"], "--songs is missing"),
    (["--estimates=nowhere", "--songs=SONGS"], "--estimates=nowhere: not found"),
    (["--estimates=ESTIMATES", "--songs=SONGS", "--stems=a,A"], "--stems=a,A"),
    (["--estimates=ESTIMATES", "--songs=SONGS", "--jobs=0"], "--jobs=0"),
    (["--estimates=SONGS/../empty", "--songs=SONGS"], "a: no estimates; expected"),
    (["run", "--songs=SONGS", "--stems=a"], "--stems is for --estimates"),
    (["--estimates=ESTIMATES", "--songs=SONGS", "--json=SONGS"], "a folder has this"),
    (["--estimates=ESTIMATES", "--songs=SONGS", "--hop=1"], "no use for --hop"),
    (["--estimates=ESTIMATES", "--songs=SONGS", "--json=a", "--csv=a"], "same file"),
    (["--compare", "nowhere.json", "x.json"], "nowhere.json cannot be read"),
    (["run", "--compare", "a.json", "b.json"], "no use for RUN"),
  ],
)
def test_mistakes_end_with_one_line(songs, flags, words, capsys):
  songs.add("a")
  (songs.songs.parent / "empty").mkdir()
  given = [
    flag.replace("SONGS", str(songs.songs)).replace("ESTIMATES", str(songs.estimates))
    for flag in flags
  ]
  assert evaluate(*given) == 1
  line = capsys.readouterr().err.splitlines()[-1]
  assert line.startswith("error: ")
  assert words in line
