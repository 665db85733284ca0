"""Command line of training: `python -m mixit_jax.main --config=… --workdir=…`."""

import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from mixit_jax.console import run_command
from mixit_jax.errors import UserError, one_line

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
    values = _parse(list(arguments))
    if values.help:
      print(_USAGE, end="")
    else:
      _train(_plain(values.config), Path(values.workdir))

  return run_command(command)


def _parse(arguments: list[str]) -> flags.FlagValues:
  """The flags, checked; `config` is an `ml_collections.ConfigDict`.

  Raises:
    UserError: a flag or key is unknown or has an impossible value, or the
      configuration file cannot be loaded.
  """
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    "config", None, "configuration file", values, sys_argv=arguments
  )
  flags.DEFINE_string("workdir", None, "folder of the run", values)
  flags.DEFINE_bool("help", False, "show this help", values, short_name="h")
  try:
    with _importable(arguments):
      rest = values(arguments)
  except ModuleNotFoundError as error:
    raise UserError(
      f"configuration: {error}; start from the root of the checkout, or name it in "
      "PYTHONPATH"
    ) from error
  except flags.Error as error:
    raise UserError(f"{_reason(error)}; see --help") from error
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    raise UserError(f"configuration: {_reason(error)}") from error
  if values.help:
    return values
  if len(rest) > 1:
    raise UserError(f"unexpected argument {rest[1]}; see --help")
  for name in ("config", "workdir"):
    if not values[name].value:
      raise UserError(f"--{name} is missing; see --help")
  return values


@contextmanager
def _importable(arguments: Sequence[str]) -> Iterator[None]:
  """Lets a configuration file import its neighbors, from whatever folder it is used.

  `from configs import finetune` in configs/table1.py finds the file beside it.
  """
  file = ""
  for flag, following in zip(arguments, [*arguments[1:], ""], strict=True):
    name, equals, value = flag.partition("=")
    if name.lstrip("-") == "config" and name != "config":
      file = (value if equals else following).partition(":")[0]
  root = str(Path(file).absolute().parent.parent)
  sys.path.insert(0, root)
  # ml_collections would load a file into the module of the one before.
  sys.modules.pop("config_config", None)
  try:
    yield
  finally:
    sys.path.remove(root)


def _plain(config: Any) -> dict[str, Any]:
  """The configuration as plain values; a file that cannot be read shows only now."""
  try:
    return config.to_dict()
  except OSError as error:
    raise UserError(f"configuration: {one_line(error.__cause__ or error)}") from error


def _train(values: dict[str, Any], workdir: Path) -> None:
  # Imported here: --help and mistyped flags answer at once.
  from mixit_jax.training import devices
  from mixit_jax.training.config import Config
  from mixit_jax.training.loop import train

  config = Config.from_dict(values)
  devices.start(config.mesh)
  train(config, workdir)


def _reason(error: BaseException) -> str:
  """The message of an error without what ml_collections puts around it."""
  text = str(error).strip()
  near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
  if near:
    return f"unknown key {near[2]}; did you mean {near[1]}?"
  if isinstance(error, KeyError):
    return "unknown key " + text.strip("\"'")
  return text.splitlines()[-1] if "Traceback" in text else one_line(error)


if __name__ == "__main__":
  # Nothing is lost before the training begins, which takes over requests to stop.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
  sys.exit(main(sys.argv))
