"""The commands that take weights in and give them out."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from training.tiny import MODEL, RATE, STEMS, finetune_config, stem_audio

import mixit_jax
from mixit_jax.audio.files import read_audio, write_audio
from mixit_jax.cli import main
from mixit_jax.training.loop import train

FLAGS = [
  f"--n-heads={MODEL.num_heads}",
  f"--n-groups={MODEL.num_groups}",
  f"--hop={MODEL.hop}",
  f"--sample-rate={RATE}",
]


@pytest.fixture(scope="module")
def published(pretrained, finetuned, tmp_path_factory):
  """PyTorch files of both runs, exported by the command: 6 and 4 outputs."""
  pytest.importorskip("torch")
  folder = tmp_path_factory.mktemp("published")
  for name, run in (("six", pretrained), ("four", finetuned)):
    out = folder / name
    assert main(["export", str(run), f"--out={out}", "--format=torch"]) == 0
    shutil.move(out / "model.pth", folder / f"{name}.pth")
  return folder


@pytest.fixture(scope="module")
def imported(published):
  """Folders of weights made from these files."""
  for name in ("six", "four"):
    out = published / f"{name} run"
    assert (
      main(["import-torch", f"{published}/{name}.pth", f"--out={out}", *FLAGS]) == 0
    )
  return published


def test_imported_weights_separate_as_the_run_they_came_from(
  imported, finetuned, tmp_path, capsys
):
  song = stem_audio(0, 7, 1.3) + stem_audio(2, 7, 1.3)
  write_audio(tmp_path / "song.wav", song, RATE)
  for run, out in ((imported / "four run", "a"), (finetuned, "b")):
    arguments = ["separate", str(run), str(tmp_path / "song.wav")]
    assert main([*arguments, f"--out={tmp_path}/{out}"]) == 0
  for stem in STEMS:
    one, two = (read_audio(tmp_path / out / f"song/{stem}.wav") for out in "ab")
    np.testing.assert_array_equal(one, two)
  assert "song" in capsys.readouterr().out


def test_imported_weights_are_scored(imported, music, tmp_path):
  file = tmp_path / "scores.json"
  arguments = ["evaluate", f"{imported}/four run", f"--songs={music}/valid"]
  assert main([*arguments, f"--json={file}"]) == 0
  assert set(json.loads(file.read_text())["estimates"]["csdr"]) == {*STEMS, "average"}


def test_outputs_of_imported_weights_are_selected(imported, music):
  arguments = ["select-channels", f"{imported}/six run", f"--songs={music}/valid"]
  assert main([*arguments, "--seconds=0.5"]) == 0
  selection = json.loads((imported / "six run/channel_selection.json").read_text())
  assert len(set(selection["outputs"])) == len(STEMS)
  assert selection["weights"]["file"] == "six.pth"


def test_fine_tuning_starts_from_imported_weights(
  imported, pretrained, music, tmp_path
):
  def first_losses(start: Path, name: str) -> list[float]:
    config = finetune_config(music, steps=2, log_every=1)
    config = dataclasses.replace(
      config, init=dataclasses.replace(config.init, run=str(start))
    )
    train(config, tmp_path / name)
    lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [event["loss"] for event in events if event["group"] == "train"]

  losses = first_losses(imported / "six run", "from imported")
  assert losses == first_losses(pretrained, "from the run")
  assert len(losses) == 2
  assert (tmp_path / "from imported/channel_selection.json").is_file()


@pytest.mark.parametrize("tensor_format", ["safetensors", "orbax", "torch"])
def test_exported_folders_separate_as_the_run(
  finetuned, tmp_path, tensor_format, capsys
):
  if tensor_format == "torch":
    pytest.importorskip("torch")
  out = tmp_path / "model"
  arguments = ["export", str(finetuned), f"--out={out}", f"--format={tensor_format}"]
  assert main([*arguments, "--license=CC BY 4.0", "--training-data=tones"]) == 0
  assert tensor_format in capsys.readouterr().out
  card = (out / "README.md").read_text()
  assert "CC BY 4.0" in card
  assert "tones" in card
  song = stem_audio(1, 7, 0.7)
  found = mixit_jax.load(out).separate(song)
  expected = mixit_jax.load(finetuned).separate(song)
  for stem in STEMS:
    np.testing.assert_array_equal(found[stem], expected[stem])


def test_what_is_assumed_is_said(published, tmp_path, capsys):
  arguments = ["import-torch", str(published / "four.pth"), *FLAGS]
  assert main([*arguments, f"--out={tmp_path}/a"]) == 0
  assert "4 outputs, bass, drums, vocals, other (assumed" in capsys.readouterr().out
  assert main([*arguments, f"--out={tmp_path}/b", "--stems=none"]) == 0
  text = capsys.readouterr().out
  assert "without names" in text
  assert "(assumed" not in text
  assert mixit_jax.load(tmp_path / "b").weights.stems is None


def test_a_malicious_file_is_refused_and_not_executed(tmp_path, capsys):
  torch = pytest.importorskip("torch")
  target = tmp_path / "executed"

  class Trap:
    def __reduce__(self):
      return Path.touch, (target,)

  torch.save({"model.model.x": Trap()}, tmp_path / "model.pth")
  out = tmp_path / "run"
  assert main(["import-torch", str(tmp_path / "model.pth"), f"--out={out}"]) == 1
  assert not target.exists()
  assert not out.exists()
  (line,) = capsys.readouterr().err.splitlines()
  assert "model.pth holds a Python object" in line
  torch.load(tmp_path / "model.pth", weights_only=False)
  assert target.exists()  # the trap works


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["import-torch", "FOUR", "--out=OUT"], "num_heads cannot be inferred"),
    (["import-torch", "FOUR", "--out=OUT", "FLAGS", "--stems=a,b"], "4 outputs"),
    (["import-torch", "FOUR", "--out=OUT", "FLAGS", "--stems="], "4 outputs"),
    (["import-torch", "FOUR", "--out=OUT", "FLAGS", "--n-fft=256"], "n_fft=256"),
    (
      ["import-torch", "FOUR", "--out=OUT", "FLAGS", "--hop=0"],
      "model.hop must be positive, found 0",
    ),
    (["import-torch", "FOUR", "--out=OUT", "--merged-config=no.yaml"], "no.yaml"),
    (["import-torch", "FOUR", "--out=FULL", "FLAGS"], "already holds files"),
    (["import-torch", "FOUR", "--out=FULL/notes", "FLAGS"], "is a file"),
    (["import-torch", "FOUR", "--out=FULL/notes/x", "FLAGS"], "cannot be written"),
    (["import-torch", "FULL/notes", "--out=OUT"], "notes is damaged"),
    (["import-torch", "nowhere.pth", "--out=OUT"], "nowhere.pth: no such file"),
    (["export", "nowhere", "--out=OUT"], "nowhere does not exist"),
    (["export", "FULL", "--out=OUT"], "is not a run"),
    (["export", "RUN", "--out=OUT", "--weights=7"], 'no weights "7"'),
    (["export", "RUN", "--out=FULL"], "already holds files"),
  ],
)
def test_mistakes_end_with_one_line(
  arguments, words, published, finetuned, tmp_path, capsys
):
  full, out = tmp_path / "full", tmp_path / "out"
  full.mkdir()
  (full / "notes").write_text("mine")
  names = {"FOUR": published / "four.pth", "FULL": full, "OUT": out, "RUN": finetuned}
  given = []
  for argument in arguments:
    for name, path in names.items():
      argument = argument.replace(name, str(path))
    given += FLAGS if argument == "FLAGS" else [argument]
  assert main(given) == 1
  *_, line = capsys.readouterr().err.strip().splitlines()
  assert line.startswith("error: ")
  assert words in line
  assert not out.exists()
  assert [p.name for p in full.iterdir()] == ["notes"]
  assert (full / "notes").read_text() == "mine"
