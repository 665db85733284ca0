"""The command line of training, as a user meets it. See also test_mistakes.py."""

import os
import subprocess
import sys

import pytest

from mixit_jax.main import main
from mixit_jax.training.config import all_rules

# ml_collections loads files in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_help_lists_every_key_at_once():
  result = subprocess.run(
    [sys.executable, "-m", "mixit_jax.main", "--help"],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "XLA_FLAGS": ""},
  )
  assert result.returncode == 0
  assert "--workdir" in result.stdout
  for key, rules in all_rules():
    assert f"--config.{key}" in result.stdout
    assert rules.meaning in result.stdout
  assert "--config.run.batch=64" in result.stdout
  assert not result.stderr


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ([], ["--config is missing"]),
    (["--config=configs/demo.py:pretrain"], ["--workdir is missing"]),
    (["--confg=x"], ["confg"]),
    (["--config=configs/missing.py", "--workdir=w"], ["configs/missing.py"]),
    (["--config=configs/pretrain.py:huge", "--workdir=w"], ["huge", "medium"]),
    (["--config=configs/table1.py", "--workdir=w"], ["S1, S2, M1"]),
    (["--config=configs/demo.py", "--workdir=w"], ["stage"]),
    (["--config", "configs/demo.py:pretrain", "--workdir=w"], ["run.batch = 4"]),
    (["--config=configs/demo.py:pretrain", "--workdir=w", "more"], ["more"]),
    (["--config.run.batch=8", "--workdir=w"], ["--config is missing"]),
  ],
)
def test_mistakes_on_the_command_line_are_one_line(arguments, words, capsys):
  assert main(["main", *arguments]) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ")
  for word in words:
    assert word in line


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("def get_config(): return 1 / 'x'", "unsupported operand"),
    ("def get_config(): raise ValueError('no size\\nat all')", "at all"),
    ("import no_such_module", "no_such_module"),
    ("x = 1", "get_config"),
  ],
)
def test_a_configuration_file_that_fails_is_one_line(text, words, tmp_path, capsys):
  file = tmp_path / "broken.py"
  file.write_text(text + "\n")
  assert main(["main", f"--config={file}", "--workdir=w"]) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert words in line


def test_each_call_has_flags_of_its_own(capsys):
  arguments = ["main", "--config=configs/demo.py:pretrain", "--workdir=w"]
  assert main([*arguments, "--config.run.batch=12"]) == 1
  assert "run.batch = 12" in capsys.readouterr().err
  assert main(arguments) == 1
  assert "run.batch = 4" in capsys.readouterr().err


def test_help_shows_the_values_of_a_configuration(capsys):
  arguments = ["--config.run.batch=6", "--config=configs/demo.py:pretrain", "--help"]
  assert main(["main", *arguments]) == 0
  shown = capsys.readouterr().out
  assert "--config.run.batch=6\n" in shown
  assert "--config.model.num_sources=12\n" in shown
