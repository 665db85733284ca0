"""Every command in README.md, CONTRIBUTING.md and docs/ runs, or says what it needs.

A block of code below a comment `<!-- needs: … -->` needs data sets or accelerators: its
commands are only read. All others run here, in order, in a folder that holds small
things under the names that the documents use.
"""

import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from training.tiny import RATE, stem_audio

from data_prep import fma
from mixit_jax import cli
from mixit_jax.cli import make_parser
from mixit_jax.flags import parse_flags
from mixit_jax.inference.exporting import export
from mixit_jax.training.config import Config

ROOT = Path(__file__).parent.parent
FILES = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/*.md"))
FILES += ["README.md", "CONTRIBUTING.md"]
PROGRAMS = ("mixit-jax", "python", "make", "pip", "pytest")
BLOCK = re.compile(r"(?:<!-- needs: (.+) -->\n)?^```(\w*)\n(.*?)^```$", re.S | re.M)
# What stands for a choice of the reader.
CHOICES = {
  "table3.py:ROW": "table3.py:none",
  "TABLE": "table1",
  "ROW": "M2",
  "SIZE": "medium",
  "RUN": "runs/M2",
}
# Benchmarks and experiments, which have tests of their own.
BY_NAME = ("benchmarks.fidelity", "experiments.small_scale")


class Block(NamedTuple):
  """A block of code: what it needs, if anything, its language and its text."""

  needs: str
  language: str
  text: str

  @property
  def commands(self) -> list[list[str]]:
    """The commands, as a shell would pass them on."""
    text = self.text
    for name, choice in CHOICES.items():
      text = re.sub(rf"\b{name}\b", choice, text)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    ours = [line for line in lines if line.split(" ")[0] in PROGRAMS]
    return [shlex.split(line, comments=True) for line in ours]


def blocks(file: str) -> list[Block]:
  text = (ROOT / file).read_text("utf-8")
  return [Block(*parts) for parts in BLOCK.findall(text)]


@pytest.fixture
def home(finetuned, pretrained, music, tmp_path, monkeypatch):
  """A folder that holds what the documents name, and is the current one."""
  for run, names in (
    (finetuned, ("finetune", "demo/finetune")),
    (pretrained, ("pretrain", "pretrain-medium")),
  ):
    for name in names:
      shutil.copytree(run, tmp_path / "runs" / name)
  songs = ("musdb18hq/test", "data/musdb/valid", "runs/demo/music/test")
  for name in (*songs, "anybodys-stems", "estimates"):
    shutil.copytree(music / "valid", tmp_path / name)
  song = stem_audio(0, 7, 2.0) + stem_audio(2, 7, 2.0)
  for name in ("song.wav", "My Album/one.wav"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    soundfile.write(tmp_path / name, song.T, RATE)
  soundfile.write(tmp_path / "song.mp3", np.repeat(song, 4, axis=1).T, 4 * RATE)
  (tmp_path / "my-music").mkdir()
  noise = np.random.default_rng(0).uniform(-0.5, 0.5, (12 * 44_100, 2))
  soundfile.write(tmp_path / "my-music/noise.flac", noise, 44_100)
  if importlib.util.find_spec("torch"):
    export(finetuned, tmp_path / "torch", tensor_format="torch")
    for name in ("model.pth", "config.json"):
      (tmp_path / "torch" / name).rename(tmp_path / name)
  monkeypatch.chdir(tmp_path)
  return tmp_path


def run_command(words: list[str], home: Path) -> None:
  program, *rest = words
  if program == "make":
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {word for word in rest if "=" not in word} <= set(targets)
  elif program == "pip":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (named,) = re.findall(r"^\.(?:\[(.*)\])?$", rest[-1])
    assert set(filter(None, named.split(","))) <= set(project["optional-dependencies"])
  elif program == "pytest":
    assert (ROOT / rest[0]).is_file()
  elif program == "mixit-jax":
    if rest[0] == "import-torch" and not importlib.util.find_spec("torch"):
      shutil.copytree(home / "runs/finetune", home / "runs/official")
      return
    if "others.json" in rest:
      shutil.copy("scores.json", "others.json")
    assert cli.main(rest) == 0, shlex.join(words)
  elif rest[:2] == ["-m", "data_prep.fma"]:
    fma.main([*rest[2:], "--workers=1"])
  else:
    assert rest[0] == "-m"
    assert rest[1] in BY_NAME
    assert importlib.util.find_spec(rest[1])


@pytest.mark.parametrize("file", FILES)
def test_commands_run(file, home):
  names: dict = {}
  for block in blocks(file):
    if block.needs:
      continue
    for words in block.commands:
      run_command(words, home)
    if block.language == "python":
      exec(compile(block.text, file, "exec"), names)


@pytest.mark.parametrize("file", FILES)
def test_commands_that_need_more_are_understood(file):
  for block in blocks(file):
    for words in block.commands if block.needs else ():
      if words[0] == "mixit-jax":
        make_parser().parse_args(words[1:])
        continue
      if words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()
        continue
      assert words[:2] == ["python", "-m"], words
      if words[2] == "mixit_jax.main":
        Config.from_dict(parse_flags(words[2:], ["workdir"]).config)
      else:
        assert importlib.util.find_spec(words[2])


def test_commands_in_sentences_exist():
  parser = make_parser()
  commands = next(a.choices for a in parser._actions if a.dest == "command")
  for file in FILES:
    text = (ROOT / file).read_text("utf-8")
    for module in re.findall(r"python3? -m ([\w.]+)", text):
      assert importlib.util.find_spec(module), f"{file}: {module}"
    for name, rest in re.findall(r"`mixit-jax ([\w-]+)([^`\n]*)`", text):
      known = set(commands[name]._option_string_actions)
      flags = set(re.findall(r"--[\w-]+", rest))
      assert flags <= known, f"{file}: mixit-jax {name}{rest}"
    for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text):
      assert (ROOT / file).parent.joinpath(link).exists(), f"{file}: {link}"
