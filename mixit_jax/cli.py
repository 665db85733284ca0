"""The command line `mixit-jax COMMAND`."""

import argparse
import sys
from collections.abc import Sequence

from mixit_jax.commands import (
  completion,
  doctor,
  evaluate,
  export,
  import_torch,
  plot,
  select_channels,
  separate,
  status,
)
from mixit_jax.commands.options import Help
from mixit_jax.console import (
  ended_by_term,
  expand_home,
  own_stderr,
  run_command,
  write_any_text,
)
from mixit_jax.version import __version__

# In the order of the help.
_COMMANDS = (
  separate,
  evaluate,
  select_channels,
  import_torch,
  export,
  status,
  plot,
  doctor,
  completion,
)


def main(arguments: Sequence[str] | None = None) -> int:
  """Run a command and return its exit status."""
  write_any_text()
  parser = make_parser()
  options, rest = parser.parse_known_args(expand_home(arguments))
  options.overrides = rest
  if rest and options.command != "doctor":
    parser.error(f"unrecognized arguments: {' '.join(rest)}")

  def command() -> None:
    # What is scored without a model needs no devices either.
    if options.devices and getattr(options, "model", True) is not None:
      from mixit_jax.devices.start import check_devices

      check_devices()
    options.run(options)

  with own_stderr(), ended_by_term():
    return run_command(command)


def make_parser() -> argparse.ArgumentParser:
  """Make the parser; the command goes to `command`, and what does it to `run`."""
  parser = argparse.ArgumentParser(
    prog="mixit-jax",
    usage="mixit-jax COMMAND [OPTION...]",
    description="Music source separation: separate recordings, score separations, pass"
    " models on.",
    formatter_class=Help,
    epilog="`mixit-jax COMMAND --help` tells more. Training is `python -m"
    " mixit_jax.main --help`.\n\nexample:\n"
    "  mixit-jax separate runs/finetune song.mp3 --out=stems",
  )
  parser.set_defaults(root=parser)
  parser.add_argument("--version", action="version", version=__version__)
  commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
  for command in _COMMANDS:
    command.add_to(commands)
  return parser


if __name__ == "__main__":
  sys.exit(main())
