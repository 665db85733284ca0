"""Command line of training: `python -m mixit_jax.main --config=… --workdir=…`."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixit_jax.console import run_command
from mixit_jax.flags import parse_flags, plain_values

_USAGE = """\
usage: python -m mixit_jax.main --config=FILE[:NAME] --workdir=FOLDER [--config.KEY=…]

  --config    configuration file, e.g. configs/pretrain.py:medium or
              configs/table1.py:M2
  --workdir   folder of the run; started again, it goes on where it stopped
  --config.…  overrides a key, e.g. --config.data.shards=data/fma --config.run.batch=32
"""


def main(arguments: Sequence[str]) -> int:
  """Runs a training and returns the exit status.

  Args:
    arguments: name of the program and its flags, as in `sys.argv`.
  """

  def command() -> None:
    values = parse_flags(arguments, ["workdir"])
    if values.help:
      print(_USAGE, end="")
    else:
      _train(plain_values(values.config), Path(values.workdir))

  return run_command(command)


def _train(values: dict[str, Any], workdir: Path) -> None:
  # Imported here: --help and mistyped flags answer at once.
  from mixit_jax.training import devices
  from mixit_jax.training.config import Config
  from mixit_jax.training.loop import train

  config = Config.from_dict(values)
  devices.start(config.mesh)
  train(config, workdir)


if __name__ == "__main__":
  # Nothing is lost before the training begins, which takes over requests to stop. An
  # exception could be swallowed in an import or a callback.
  signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
  sys.exit(main(sys.argv))
