"""The `mixit-jax` commands."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from training.tiny import RATE, STEMS, stem_audio

import mixit_jax
from mixit_jax.audio.files import read_audio, write_audio
from mixit_jax.cli import main, make_parser
from mixit_jax.commands.completion import SHELLS


def test_separate_writes_every_stem_at_the_right_length(finetuned, tmp_path, capsys):
  song = stem_audio(0, 7, 2.3) + stem_audio(2, 7, 2.3)
  write_audio(tmp_path / "a song.wav", song, RATE)
  arguments = [
    "separate",
    str(finetuned),
    str(tmp_path / "a song.wav"),
    f"--out={tmp_path}/stems",
    "--chunk=1",
    "--hop=0.5",
    "--batch=2",
  ]
  assert main(arguments) == 0
  folder = tmp_path / "stems/a song"
  assert sorted(p.name for p in folder.iterdir()) == sorted(f"{s}.wav" for s in STEMS)
  for stem in STEMS:
    audio = read_audio(folder / f"{stem}.wav")
    assert audio.shape == song.shape
    assert np.isfinite(audio).all()
  assert "a song" in capsys.readouterr().out


def test_separate_goes_on_after_a_broken_file(finetuned, tmp_path, capsys):
  write_audio(tmp_path / "good.wav", stem_audio(0, 7, 1.0), RATE)
  for name in ("bad", "worse"):
    (tmp_path / f"{name}.wav").write_bytes(b"no audio")
  files = [str(tmp_path / f"{name}.wav") for name in ("bad", "good", "worse")]
  arguments = ["separate", str(finetuned), *files, f"--out={tmp_path}/o"]
  assert main([*arguments, "--quiet"]) == 1
  shown = capsys.readouterr()
  assert not shown.out
  told, again = shown.err.splitlines()[:2], shown.err.splitlines()[2:4]
  for name, line in zip(("bad", "worse"), told, strict=True):
    assert line.startswith(f"{tmp_path}/{name}.wav: ")
  assert again == [f"failed: {line}" for line in told]
  assert shown.err.splitlines()[4:] == ["error: 2 of 3 not separated"]
  assert (tmp_path / "o/good/bass.wav").is_file()


def test_evaluate_scores_estimates_and_mixture(finetuned, music, tmp_path, capsys):
  file = tmp_path / "scores.json"
  arguments = ["evaluate", str(finetuned), f"--songs={music}/valid", f"--json={file}"]
  assert main([*arguments, "--chunk=1", "--hop=0.5"]) == 0
  result = json.loads(file.read_text())
  for kind in ("estimates", "mixture"):
    for score in ("usdr_mdx", "usdr_per_channel", "csdr"):
      assert set(result[kind][score]) == {*STEMS, "average"}
  gain = result["estimates"]["usdr_mdx"]["average"]
  gain -= result["mixture"]["usdr_mdx"]["average"]
  assert result["average_improvement_db"] == pytest.approx(gain)
  assert [song["name"] for song in result["songs"]] == ["song 6", "song 7"]
  assert "average" in capsys.readouterr().out


def test_evaluation_agrees_with_validation_in_training(finetuned, music):
  from mixit_jax.inference.evaluate import evaluate
  from mixit_jax.inference.model import Model
  from mixit_jax.weights.runs import read_weights

  lines = [
    json.loads(line) for line in (finetuned / "metrics.jsonl").read_text().splitlines()
  ]
  valid = [line for line in lines if line["group"] == "valid"][-1]
  model = Model(read_weights(finetuned, "latest"), chunk_seconds=1.0, hop_seconds=0.5)
  result = evaluate(model, music / "valid").to_dict()
  for stem in STEMS:
    assert result["estimates"]["usdr_mdx"][stem] == pytest.approx(
      valid[f"usdr/{stem}"], abs=1e-2
    )


def test_select_channels_writes_its_choice(pretrained, music, tmp_path, capsys):
  file = tmp_path / "selection.json"
  arguments = ["select-channels", str(pretrained), f"--songs={music}/valid"]
  assert main([*arguments, "--seconds=0.5", f"--json={file}"]) == 0
  exact = json.loads(file.read_text())
  again = [*arguments, "--seconds=0.5", f"--json={file}", "--precision=bfloat16"]
  assert main(again) == 0
  assert json.loads(file.read_text()) != exact  # the costs differ a little
  selection = json.loads(file.read_text())
  assert len(set(selection["outputs"])) == len(STEMS)
  assert "drums" in capsys.readouterr().out


@pytest.fixture
def spoiled(music, tmp_path):
  """The validation songs, the first of which is damaged."""
  songs = shutil.copytree(music / "valid", tmp_path / "songs")
  (songs / "song 6/bass.wav").write_bytes(b"no audio")
  return songs


def test_a_bad_song_is_named_and_left_out(finetuned, spoiled, tmp_path, capsys):
  file = tmp_path / "s.json"
  arguments = ["evaluate", str(finetuned), f"--songs={spoiled}", f"--json={file}"]
  assert main([*arguments, "--chunk=1", "--hop=0.5", "--quiet"]) == 1
  result = json.loads(file.read_text())
  assert [song["name"] for song in result["songs"]] == ["song 7"]
  shown = capsys.readouterr()
  assert "not scored, and left out: song 6: " in shown.out
  lines = [line for line in shown.err.splitlines() if "warning" not in line]
  assert [line.split(": ")[0] for line in lines] == ["song 6", "error"]
  assert "1 of 2 songs could not be scored" in lines[1]


def test_selection_goes_on_after_a_bad_song(pretrained, spoiled, tmp_path, capsys):
  run = shutil.copytree(pretrained, tmp_path / "run")
  (run / "channel_selection.json").mkdir()  # the result cannot be written there
  arguments = ["select-channels", str(run), f"--songs={spoiled}", "--seconds=0.5"]
  assert main(arguments) == 1
  shown = capsys.readouterr()
  assert "drums" in shown.out  # the table is not lost
  assert "left out: song 6: " in shown.err
  assert main([*arguments, f"--json={tmp_path}/s.json"]) == 1
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith("error: 1 of 2 songs could not be read: song 6: ")
  votes = json.loads((tmp_path / "s.json").read_text())["votes"]
  assert 0 < sum(votes[0]) <= 4  # of the 1.7 s of the other song


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_name_is_shown_in_any_encoding(finetuned, tmp_path, encoding, monkeypatch):
  names = ["ßong ☃.wav", os.fsdecode(b"\xe9t\xe9.wav")]  # the latter is no UTF-8
  write_audio(tmp_path / "a.wav", stem_audio(0, 7, 0.5), RATE)
  for name in names:
    shutil.copy(tmp_path / "a.wav", tmp_path / name)
  content = io.BytesIO()
  stream = io.TextIOWrapper(content, encoding)
  monkeypatch.setattr(sys, "stdout", stream)
  files = [str(tmp_path / name) for name in names]
  assert main(["separate", str(finetuned), *files, f"--out={tmp_path}/o"]) == 0
  with pytest.raises(SystemExit) as end:
    main(["doctor", "--help"])
  assert end.value.code == 0
  stream.flush()
  lines = content.getvalue().decode(encoding).splitlines()
  assert "\\u2603" in lines[0]
  assert len(list((tmp_path / "o").rglob("bass.wav"))) == 2


# Processes in the background of a shell ignore Ctrl-C, and hand that on to tests.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mixit_jax.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_separation_and_leaves_no_half_file(finetuned, tmp_path, number):
  write_audio(tmp_path / "long.wav", np.tile(stem_audio(0, 7, 60), 20), RATE)
  out = tmp_path / "out"
  arguments = [
    "separate",
    finetuned,
    tmp_path / "long.wav",
    f"--out={out}",
    "--chunk=1",
  ]
  command = [sys.executable, "-c", COMMAND, *map(str, arguments), "--hop=0.1"]
  process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
  while not list(out.rglob("*.tmp")) and process.poll() is None:
    time.sleep(0.01)
  process.send_signal(number)
  _, said = process.communicate(timeout=120)
  assert process.returncode == (143 if number == signal.SIGTERM else 130)
  assert "Traceback" not in said
  assert not [path for path in out.rglob("*") if path.is_file()]


def test_the_python_interface_separates_files_and_arrays(finetuned, tmp_path):
  model = mixit_jax.load(finetuned)
  song = stem_audio(1, 7, 1.3)
  write_audio(tmp_path / "song.wav", song, RATE)
  from_file = model.separate(tmp_path / "song.wav")
  from_array = model.separate(song)
  assert tuple(from_file) == model.stems == STEMS
  for stem in STEMS:
    np.testing.assert_array_equal(from_file[stem], from_array[stem])
  faster = model.separate(np.repeat(song, 2, axis=1), sample_rate=2 * RATE)
  assert faster["bass"].shape == song.shape
  assert model.config.num_sources == 4
  half = mixit_jax.load(finetuned, precision="bfloat16").separate(song)
  assert 0 < np.abs(half["bass"] - from_array["bass"]).max() < 0.05
  assert model.card["objective"] == "stems"


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["evaluate", "nowhere", "--songs=x"], "nowhere does not exist"),
    (["evaluate", ".", "--songs=x"], "not a run"),
    (["evaluate", "PRETRAINED", "--songs=MUSIC/valid"], "no names"),
    (["evaluate", "FINETUNED", "--songs=nowhere"], "nowhere"),
    (["evaluate", "FINETUNED", "--songs=MUSIC/bass"], "no song"),
    (["evaluate", "FINETUNED", "--songs=x", "--weights=7"], 'no weights "7"'),
    (["evaluate", "FINETUNED", "--songs=x", "--weights=ema"], "running mean"),
    (["evaluate", "FINETUNED", "--songs=x", "--hop=99"], "--hop=99"),
    (["evaluate", "FINETUNED", "--songs=x", "--batch=0"], "--batch=0"),
    (["separate", "FINETUNED", "nowhere.wav", "--out=OUT"], "nowhere.wav"),
    (["separate", "FINETUNED", "a.wav", "--out=OUT", "--shares=1,1"], "--shares=1,1"),
    (["separate", "FINETUNED", "a.wav", "--out=OUT", "--also=nowhere"], "nowhere"),
    (["separate", "FINETUNED", "a.wav", "--out=OUT", "--also=PRETRAINED"], "--also"),
    (["separate", "FINETUNED", "a.wav", "--out=OUT", "--chunk=inf"], "--chunk=inf"),
    (["separate", "FINETUNED", "a.wav", "--out=OUT", "--stems=bass,bass"], "twice"),
    (["select-channels", "PRETRAINED", "--songs=x", "--seconds=nan"], "--seconds=nan"),
    (["doctor", "--peak-tflops=inf"], "--peak-tflops=inf"),
    (["select-channels", "FINETUNED", "--songs=MUSIC/valid", "--stems=a"], "no song"),
  ],
)
def test_mistakes_end_with_one_line(
  arguments, words, finetuned, pretrained, music, tmp_path, capsys
):
  names = {
    "FINETUNED": finetuned,
    "PRETRAINED": pretrained,
    "MUSIC": music,
    "OUT": tmp_path,
  }
  for name, path in names.items():
    arguments = [argument.replace(name, str(path)) for argument in arguments]
  assert main(arguments) == 1
  errors = capsys.readouterr().err.strip().splitlines()
  assert errors[-1].startswith("error: ")
  assert words in errors[-1]


def test_flags_that_a_command_does_not_have_are_refused(capsys):
  with pytest.raises(SystemExit) as end:
    main(["export", "run", "--out=x", "--config=y"])
  assert end.value.code == 2
  assert "unrecognized arguments: --config=y" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["export", "run", "--out=x"], ["doctor"]])
def test_devices_that_are_not_there_are_one_line(command):
  result = subprocess.run(
    [sys.executable, "-m", "mixit_jax.cli", *command],
    env={**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "nonsense"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 1
  assert "Traceback" not in result.stderr
  lines = (result.stdout + result.stderr).splitlines()
  (line,) = (x for x in lines if x.startswith(("error: JAX", "FAILED  devices")))
  assert "JAX_PLATFORMS=nonsense: " in line
  assert "JAX_PLATFORMS=cpu" in line


COMMANDS = make_parser()._subparsers._group_actions[0].choices


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_gives_every_default(command, monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  parser = COMMANDS[command]
  text = parser.format_help()
  assert len(text.splitlines()) <= 40
  assert max(map(len, text.splitlines())) <= 88
  head, example = text.split("example:\n")
  assert "mixit-jax " + command in head.splitlines()[0]
  assert "mixit-jax " in example
  for action in parser._actions:
    if action.option_strings and action.dest != "help" and not action.required:
      assert action.help.endswith("]") or action.dest in EXPLAINED, action.dest


# The meaning tells what happens without the flag.
EXPLAINED = ("songs", "estimates", "compare")


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_complete_commands_and_flags(shell, tmp_path, capsys):
  assert main(["completion", shell]) == 0
  script = capsys.readouterr().out
  assert "select-channels" in script
  if shell == "bash":
    (tmp_path / "script").write_text(script)
    lines = """source "$1"; COMP_WORDS=(mixit-jax separate run --win); COMP_CWORD=3
      _shtab_mixit_jax; echo "${COMPREPLY[@]}"
      COMP_WORDS=(mixit-jax separate run --window ""); COMP_CWORD=4
      _shtab_mixit_jax; echo "${COMPREPLY[@]}" """
    command = ["bash", "-c", lines, "bash", tmp_path / "script"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "--window\nmean triangle hann\n"


def test_the_package_is_a_command():
  command = [sys.executable, "-m", "mixit_jax", "--version"]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == mixit_jax.__version__
