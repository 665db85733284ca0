"""`--page` of separate, evaluate and select-channels."""

import json
import re

import numpy as np
import pytest
import soundfile
from evaluation.song_files import Songs
from inference.test_separate import RATE, Halves, Report, noise
from page.songs import data_of

from mixit_jax.audio.files import decode, write_audio
from mixit_jax.cli import main
from mixit_jax.inference.estimates import Member
from mixit_jax.inference.listening import Pages, vote_facts
from mixit_jax.inference.request import Request
from mixit_jax.inference.separate import separate_files
from mixit_jax.page.song_page import Fact


def separate(inputs, out, votes=None, **request):
  report = Report()
  pages = Pages(out, "halves", votes is None, votes or {})
  members = [Member(Halves(0.1, 0.05), 1.0)]
  outcome = separate_files(members, inputs, out, Request(**request), report, pages)
  assert outcome.failures == []
  return report


def facts_of(track):
  return {fact["label"]: fact["value"] for fact in track["facts"]}


def test_separate_writes_a_page_of_all_results_beside_them(tmp_path):
  song = noise(20_000, 1)
  write_audio(tmp_path / "a song.wav", song, RATE)
  report = separate([tmp_path / "a song.wav"], tmp_path / "out", minus=("left",))
  assert report.said[-1] == f"listen: {tmp_path}/out/index.html"
  folder = tmp_path / "out/a song"
  files = {p.name for p in folder.iterdir()}
  assert files == {"index.html", "page", "left.wav", "right.wav", "no_left.wav"}
  document = data_of(folder)
  names = ["mixture", "left", "right", "no_left"]
  assert [track["name"] for track in document["tracks"]] == names
  assert [t["kind"] for t in document["tracks"]] == ["mixture", "stem", "stem", "rest"]
  for track, file in zip(document["tracks"][1:], names[1:], strict=True):
    assert track["file"] == f"{file}.wav"
    assert (folder / track["picture"]).is_file()
  heard, rate = decode(folder / document["tracks"][0]["file"])
  assert (rate, heard.shape) == (RATE, song.shape)
  facts = {fact["label"]: fact["value"] for fact in document["facts"]}
  assert facts == {"model": "halves", "rate": "44.1 kHz", "channels": "mono"}
  assert document["overview"] == "../index.html"
  assert 'href="a%20song/index.html"' in (tmp_path / "out/index.html").read_text()


def test_a_page_that_is_missing_is_made_and_stems_that_are_there_are_kept(tmp_path):
  write_audio(tmp_path / "song.wav", noise(9000), RATE)
  separate([tmp_path / "song.wav"], tmp_path / "out")
  folder = tmp_path / "out/song"
  (folder / "index.html").unlink()
  for stem in ("left", "right"):
    write_audio(folder / f"{stem}.wav", np.ones((2, 9)), RATE)
  (folder / "right.wav").unlink()
  separate([tmp_path / "song.wav"], tmp_path / "out")
  assert soundfile.info(folder / "left.wav").frames == 9
  assert soundfile.info(folder / "right.wav").frames == 9000
  assert [track["name"] for track in data_of(folder)["tracks"]][1:] == ["left", "right"]
  report = separate([tmp_path / "song.wav"], tmp_path / "out")
  assert "kept as it is" in report.warned[0]


def test_outputs_of_a_pretrained_model_have_their_votes(tmp_path):
  selection = {
    "stems": ["bass", "drums"],
    "outputs": [1, 0],
    "votes": [[1, 4], [2, 0]],
    "mean_snr_db": [-1.25, 3.0],
  }
  votes = vote_facts(selection, ("left", "right"))
  assert [fact[:2] for fact in votes["left"]] == [
    ("chosen as", "drums"),
    ("SNR", "3.0 dB"),
    ("votes", "drums 2, bass 1"),
  ]
  with pytest.raises(ValueError, match="other outputs"):
    vote_facts(selection, ("left", "right", "third"))
  write_audio(tmp_path / "song.wav", noise(9000), RATE)
  separate([tmp_path / "song.wav"], tmp_path / "out", votes)
  tracks = data_of(tmp_path / "out/song")["tracks"]
  found = {track["name"]: facts_of(track) for track in tracks}
  assert found["right"]["votes"] == "bass 4"
  assert found["left"]["chosen as"] == "drums"
  assert isinstance(votes["left"][0], Fact)


def test_evaluate_puts_scores_on_pages_and_makes_missing_ones(tmp_path, capsys):
  songs = Songs(tmp_path)
  for seed, name in enumerate(("a", "b")):
    songs.add(name, seed, gains=(1, 1, 1, 0))
  flags = ["evaluate", *songs.flags, f"--json={tmp_path}/s.json", "--jobs=2"]
  pages = tmp_path / "pages"
  assert main([*flags]) == 0
  assert main([*flags, f"--page={pages}"]) == 0
  document = data_of(pages / "a")
  scores = json.loads((tmp_path / "s.json").read_text())["songs"][0]
  tracks = {track["name"]: track for track in document["tracks"]}
  assert list(tracks)[:3] == ["mixture", "bass", "bass (reference)"]
  assert len(tracks) == 9
  found = facts_of(tracks["bass"])
  assert found["uSDR"] == f"{scores['usdr_mdx']['bass']:.1f} dB"
  gain = scores["usdr_mdx"]["bass"] - scores["mixture"]["usdr_mdx"]["bass"]
  assert found["gain"] == f"{gain:+.1f} dB"
  assert "uSDR" not in facts_of(tracks["other"])  # silent: it has none
  listed = re.findall(r'href="(.*?index\.html)"', (pages / "index.html").read_text())
  assert listed == ["a/index.html", "b/index.html"]
  before = (pages / "b/index.html").stat().st_mtime_ns
  (pages / "a/index.html").unlink()
  assert main([*flags, f"--page={pages}"]) == 0
  assert (pages / "a/index.html").is_file()
  assert (pages / "b/index.html").stat().st_mtime_ns == before
  (pages / "index.html").write_text("mine")
  capsys.readouterr()
  assert main([*flags, f"--page={pages}"]) == 1
  assert "index.html is there already" in capsys.readouterr().err


def test_select_channels_shows_all_outputs_with_references(pretrained, music, tmp_path):
  flags = [
    "select-channels",
    str(pretrained),
    f"--songs={music}/valid",
    "--seconds=0.5",
  ]
  file, pages = tmp_path / "selection.json", tmp_path / "pages"
  assert main([*flags, f"--json={file}", f"--page={pages}"]) == 0
  selection = json.loads(file.read_text())
  count = len(selection["votes"][0])
  for name in ("song 6", "song 7"):
    tracks = data_of(pages / name)["tracks"]
    outputs = [track for track in tracks if track["kind"] == "stem"]
    assert len(outputs) == count
    levels = [facts_of(track)["level"] for track in outputs]
    sounding = [float(x.split()[0].replace("\N{MINUS SIGN}", "-")) for x in levels]
    assert sounding == sorted(sounding, reverse=True)
    names = [track["name"] for track in tracks]
    for stem, output in zip(selection["stems"], selection["outputs"], strict=True):
      place = names.index(f"{stem} (reference)")
      assert facts_of(tracks[place - 1])["chosen as"] == stem
      assert tracks[place - 1]["name"] == f"output_{output:02}"
    votes = sum(facts_of(track)["votes"] != "none" for track in outputs)
    assert votes == (np.array(selection["votes"]).sum(axis=0) > 0).sum()
