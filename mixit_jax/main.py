"""Command line of training: `python -m mixit_jax.main --config=… --workdir=…`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from mixit_jax.console import run_command
from mixit_jax.errors import UserError

_FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
  "config", None, "Configuration file, e.g. configs/pretrain.py:medium.",
  flag_values=_FLAGS,
)  # fmt: skip
flags.DEFINE_string(
  "workdir", None, "Folder of the run: checkpoints, metrics, configuration.",
  flag_values=_FLAGS,
)  # fmt: skip
flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=_FLAGS)

_USAGE = """\
usage: python -m mixit_jax.main --config=FILE[:SIZE] --workdir=FOLDER [--config.KEY=…]

  --config    configuration file, e.g. configs/pretrain.py:medium
  --workdir   folder of the run; started again, it goes on where it stopped
  --config.…  overrides a key, e.g. --config.data.shards=data/fma --config.run.batch=32
"""


def main(arguments: Sequence[str]) -> int:
  """Runs a training and returns the exit status."""

  def command() -> None:
    if _parse(arguments):
      print(_USAGE, end="")
    else:
      _train(_config_values(), Path(_value("workdir")))

  return run_command(command)


def _parse(arguments: Sequence[str]) -> bool:
  """Parses the flags; true when only help is wanted."""
  try:
    rest = _FLAGS(list(arguments))
  except flags.Error as error:
    raise UserError(f"{error}; see --help") from error
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    raise UserError(f"configuration: {_one_line(error)}") from error
  if _value("help"):
    return True
  if len(rest) > 1:
    raise UserError(f"unexpected argument {rest[1]}; see --help")
  for name in ("config", "workdir"):
    if not _value(name):
      raise UserError(f"--{name} is missing; see --help")
  return False


def _value(name: str) -> Any:
  return _FLAGS[name].value


def _config_values() -> dict[str, Any]:
  """The configuration as plain values; a file that cannot be loaded shows only now."""
  try:
    return _value("config").to_dict()
  except OSError as error:
    raise UserError(f"configuration: {_one_line(error.__cause__ or error)}") from error


def _train(values: dict[str, Any], workdir: Path) -> None:
  # Imported here: --help and mistyped flags answer at once.
  from mixit_jax.training import devices
  from mixit_jax.training.config import Config
  from mixit_jax.training.loop import train

  config = Config.from_dict(values)
  devices.start(config.mesh)
  train(config, workdir)


def _one_line(error: BaseException) -> str:
  return " ".join(str(error).split())


if __name__ == "__main__":
  sys.exit(main(sys.argv))
