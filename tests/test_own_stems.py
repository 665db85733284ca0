"""docs/recipe.md, "Your own stems": its commands, as they are written there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training.tiny import RATE, stem_audio

from mixit_jax.audio.files import read_audio, write_audio

ROOT = Path(__file__).parent.parent
STEMS = ("guitar", "voice", "rest")
# What makes the commands fast: a tiny model, and songs for it.
SHAPE = [f"--sample-rate={RATE}", "--seconds=1", "--hop=0.5", "--workers=1"]
STEPS = ["--config.run.steps=4", "--config.run.log_every=2"]
CONFIG = """
import sys
sys.path.insert(0, {tests!r})
from training.tiny import finetune_config

def get_config(size):
  return finetune_config("").changed(mesh={{"fsdp": 1}}, run={{"batch": 2}})
"""


def commands():
  """The commands of that part of the document, each as a list."""
  text = (ROOT / "docs/recipe.md").read_text("utf-8")
  _, _, part = text.partition("\n## Your own stems\n")
  blocks = re.findall(r"^```\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
  lines = "".join(blocks[1:]).replace("\\\n", " ").splitlines()
  return [shlex.split(line) for line in lines]


@pytest.fixture
def place(tmp_path, pretrained):
  """A folder as a new user has it, and a pre-trained run."""
  for song in range(8):
    folder = tmp_path / "multitracks" / f"song {song}"
    for number, stem in enumerate(STEMS):
      audio = stem_audio(number, song, 3.0)
      suffix = ("wav", "flac", "wav")[song % 3]
      write_audio(folder / f"{stem}.{suffix}", audio, RATE, "PCM_16")
  (tmp_path / "runs").mkdir()
  (tmp_path / "runs/pretrain-small").symlink_to(pretrained)
  (tmp_path / "configs").mkdir()
  config = CONFIG.format(tests=str(ROOT / "tests"))
  (tmp_path / "configs/finetune.py").write_text(config)
  soundfile.write(
    tmp_path / "song.mp3", sum(stem_audio(n, 9, 3.0) for n in range(3)).T, 16000
  )
  return tmp_path


@pytest.mark.slow
def test_from_a_folder_of_multitracks_to_a_separated_song(place):
  environment = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache/xla_lives"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  said = []
  for command in commands():
    program = command[:3] if command[0] == "python" else command[:2]
    start = {"python": [], "mixit-jax": ["-m", "mixit_jax.cli"]}[command[0]]
    more = SHAPE if "data_prep.musdb" in command else []
    more += STEPS if "mixit_jax.main" in command else []
    result = subprocess.run(
      [sys.executable, *start, *command[1:], *more],
      cwd=place,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )
    assert result.returncode == 0, (program, result.stderr[-2000:])
    said.append(result.stdout)
  assert len(said) == 5
  assert "2 validation songs; left out: 0 silent stems, 0 broken files" in said[0]
  assert "stems guitar, voice, rest" in said[1]
  for stem in STEMS:
    assert stem in said[3]
  found = sorted((place / "stems/song").iterdir())
  assert [path.stem for path in found] == sorted(STEMS)
  song = read_audio(place / "song.mp3")
  for path in found:
    audio = read_audio(Path(path))
    assert audio.shape == song.shape
    assert np.isfinite(audio).all()
