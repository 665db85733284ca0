"""`mixit-jax completion`: a shell that completes commands, flags and their values."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from mixit_jax.commands.options import Commands, add_command

# For which completions can be made.
SHELLS = ("bash", "zsh", "fish", "tcsh")


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "completion",
    run,
    short="let a shell complete commands and flags",
    text="""\
Print a script that lets a shell complete commands, flags and their values. Put
the line below into ~/.bashrc; for zsh, save the script as _mixit-jax in $fpath.""",
    usage="SHELL",
    example='eval "$(mixit-jax completion bash)"',
    devices=False,
  )
  parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(options: argparse.Namespace) -> None:
  """Print the script."""
  import shtab

  for action in _flags_of(options.root):
    if action.type is Path:
      action.complete = shtab.FILE  # type: ignore[attr-defined]
  print(shtab.complete(options.root, options.shell))


def _flags_of(root: argparse.ArgumentParser) -> Iterator[argparse.Action]:
  """Yield the flags and arguments of all commands."""
  for action in root._actions:
    if isinstance(action, argparse._SubParsersAction):
      for parser in action.choices.values():
        yield from parser._actions
