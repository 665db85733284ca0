"""Command line of training: `python -m mixit_jax.main --config=… --workdir=…`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mixit_jax.console import DONE, STOPPED, expand_home, run_command

_USAGE = """\
usage: python -m mixit_jax.main --config=FILE[:NAME] --workdir=FOLDER [--config.KEY=…]

  --config    configuration file, e.g. configs/pretrain.py:medium or
              configs/table1.py:M2
  --workdir   folder of the run; the same command run again resumes it

Exit status: 0 the run is complete; 75 it was asked to stop and has saved, the same
command goes on; 1 it failed. A signal before the first step ends it as any process
(143 in a shell for SIGTERM, 130 for Ctrl-C).

Every key of the configuration can be set. With --config, --help shows the values of
that file, else the defaults:
"""


def main(arguments: Sequence[str]) -> int:
  """Run a training and return the exit status.

  Args:
    arguments: name of the program and its flags, as in `sys.argv`.
  """
  arguments = expand_home(arguments)
  if {"--help", "-h"} & set(arguments):
    return run_command(lambda: _show_help(arguments))
  return run_command(lambda: _train(arguments))


def _train(arguments: Sequence[str]) -> int:
  # Imported here: --help and mistyped flags answer at once.
  from mixit_jax.flags import parse_flags

  flags = parse_flags(arguments, ["workdir"])

  from mixit_jax.devices import start
  from mixit_jax.training.config import Config
  from mixit_jax.training.loop import train

  config = Config.from_dict(flags.config)
  start.start(config.mesh.distributed)
  return DONE if train(config, Path(flags.others["workdir"])) else STOPPED


def _show_help(arguments: Sequence[str]) -> None:
  from mixit_jax.flags import parse_flags
  from mixit_jax.training.config import Config, describe_keys

  given = [argument for argument in arguments if argument not in ("--help", "-h")]
  print(_USAGE)
  if not any(argument.startswith("--config") for argument in given):
    print(describe_keys())
  else:
    config = Config.from_dict(
      parse_flags([*given, "--workdir=RUN"], ["workdir"]).config
    )
    print(describe_keys(config))


if __name__ == "__main__":
  sys.exit(main(sys.argv))
