"""What nobody can read any more never ends a command."""

import subprocess
import sys

import pytest

from mixit_jax.console import expand_home

COMMAND = """
import logging, sys
from pathlib import Path
from mixit_jax.console import run_command

def command():
  for number in range(3):
    print("out", number, flush=True)
    print("err", number, file=sys.stderr, flush=True)
    logging.warning("log %d", number)
  with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    file.write("done")

sys.exit(run_command(command))
"""


@pytest.mark.parametrize(
  ("redirection", "status", "said"),
  [
    ("2>&1 | head -2", 0, "out 0\nerr 0\n"),
    ("| head -0", 0, None),
    ("2>/dev/full", 0, "out 0\nout 1\nout 2\n"),
    ("2>&-", 0, "out 0\nout 1\nout 2\n"),
    (">&-", 0, ""),
    ("<&- >&- 2>&-", 0, ""),
    # What was asked for is lost: that is no success, but nothing is cut short.
    (">/dev/full", 1, ""),
  ],
)
def test_the_command_goes_on_to_its_end(tmp_path, redirection, status, said):
  script = f'"$0" -c "$1" "$2" {redirection}; exit ${{PIPESTATUS[0]}}'
  result = subprocess.run(
    ["bash", "-c", script, sys.executable, COMMAND, str(tmp_path / "file")],
    capture_output=True,
    text=True,
    check=False,
  )
  assert (tmp_path / "file").read_text() == "done"
  assert result.returncode == status, result.stderr
  if said is not None:
    assert result.stdout == said
  assert "Traceback" not in result.stderr
  assert "Exception ignored" not in result.stderr
  if status:
    assert result.stderr.endswith("error: the output could not be written: disk full\n")


def test_a_home_that_is_not_there_is_left_as_it_was_written():
  """Such as in containers, for users without an entry."""
  assert expand_home(["--out=~no-such-user/x"]) == ["--out=~no-such-user/x"]
