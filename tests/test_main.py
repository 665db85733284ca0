"""The command line of training, as a user meets it. See also test_mistakes.py."""

import os
import subprocess
import sys

import pytest

from mixit_jax.errors import UserError
from mixit_jax.flags import load_config, parse_flags
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
    (["--config=configs/missing.py", "--workdir=w"], ["configs/missing.py", "package"]),
    (["--config=configs/pretrain.py:huge", "--workdir=w"], ["huge", "medium"]),
    (["--config=configs/table1.py", "--workdir=w"], ["S1, S2, M1"]),
    (["--config=configs/demo.py", "--workdir=w"], ["stage"]),
    (["--config", "configs/demo.py:pretrain", "--workdir=w"], ["--config.data.shards"]),
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
    ("def get_config():\n  return 1 / 'x'", "broken.py, line 2: unsupported operand"),
    (
      "def get_config(): raise ValueError('no size\\nat all')",
      "line 1: no size at all",
    ),
    ("import no_such_module", "line 1: No module named 'no_such_module'"),
    ("x = 1", "get_config"),
    ("def get_config(:", "line 1: invalid syntax"),
    ("\ndef get_config():\n  x = 1", "line 2: get_config returns NoneType"),
  ],
)
def test_a_configuration_file_that_fails_is_one_line(text, words, tmp_path, capsys):
  file = tmp_path / "broken.py"
  file.write_text(text + "\n")
  assert main(["main", f"--config={file}", "--workdir=w"]) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert words in line


def test_each_call_has_flags_of_its_own(capsys):
  arguments = ["main", "--config=configs/demo.py:pretrain", "--help"]
  assert main([*arguments, "--config.run.batch=12"]) == 0
  assert "--config.run.batch=12\n" in capsys.readouterr().out
  assert main(arguments) == 0
  assert "--config.run.batch=4\n" in capsys.readouterr().out


def test_help_shows_the_values_of_a_configuration(capsys):
  arguments = ["--config.run.batch=6", "--config=configs/demo.py:pretrain", "--help"]
  assert main(["main", *arguments]) == 0
  shown = capsys.readouterr().out
  assert "--config.run.batch=6\n" in shown
  assert "--config.model.num_sources=12\n" in shown


CONFIG = """
from configs import finetune

def get_config(size="small"):
  assert size == "small", size
  return finetune.get_config(size)
"""


@pytest.mark.parametrize(
  ("override", "stems"),
  [
    ("=a,b,c,d", ["a", "b", "c", "d"]),
    ("= a, b,c ,d", ["a", "b", "c", "d"]),
    ("=(a,b,c,d)", ["a", "b", "c", "d"]),
    ("=['a','b','c','d']", ["a", "b", "c", "d"]),
    ("a,b,c,d", ["a", "b", "c", "d"]),
    ("=vocals", ["vocals"]),
  ],
)
def test_lists_are_separated_by_commas(override, stems):
  key = "--config.data.stems"
  flags = [key + override] if override[0] == "=" else [key, override]
  found = parse_flags(["main", "--config=configs/finetune.py", *flags])
  assert found.config["data"]["stems"] == tuple(stems)


def test_other_lists_too():
  found = parse_flags(
    [
      "main",
      "--config=configs/finetune.py",
      "--config.run.allow_changes=run.batch,data.seed",
      "--config.model.bands=8,8",
      "--config.run.steps=7",
    ]
  ).config
  assert found["run"]["allow_changes"] == ("run.batch", "data.seed")
  assert found["model"]["bands"] == (8, 8)
  assert found["run"]["steps"] == 7


@pytest.mark.parametrize(
  ("override", "words"),
  [
    ("run.save-every=5", "did you mean --config.run.save_every?"),
    ("data.stems[0]=bass", "the whole list, --config.data.stems=A,B"),
  ],
)
def test_keys_that_cannot_be_are_one_line(override, words, capsys):
  arguments = ["--config=configs/finetune.py", "--workdir=w", f"--config.{override}"]
  assert main(["main", *arguments]) == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert words in line


def test_a_path_may_hold_a_colon(tmp_path):
  file = tmp_path / "a:b" / "mine.py"
  file.parent.mkdir()
  file.write_text(CONFIG)
  assert load_config(f"{file}")["objective"]["kind"] == "stems"
  assert load_config(f"{file}:small")["objective"]["kind"] == "stems"


def test_what_lies_above_a_configuration_hides_no_package(tmp_path):
  (tmp_path / "mine").mkdir()
  (tmp_path / "mine/config.py").write_text(CONFIG)
  (tmp_path / "numpy.py").write_text("raise RuntimeError('the wrong numpy')")
  (tmp_path / "flax").mkdir()
  script = f"""
import sys
from mixit_jax.flags import load_config
before = list(sys.path)
load_config({str(tmp_path / "mine/config.py")!r})
assert sys.path == before
"""
  subprocess.run([sys.executable, "-c", script], check=True)


def test_without_a_checkout_the_configurations_of_the_package_serve(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  assert load_config("configs/table1.py:M2")["init"]["run"]
  (tmp_path / "configs").mkdir()  # somebody's own
  with pytest.raises(UserError, match=r"no such file; those of the package are in"):
    load_config("configs/table1.py:M2")
