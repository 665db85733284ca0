"""What the command lines of all commands share: their form, and options in common."""

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from mixit_jax.errors import UserError
from mixit_jax.stems import name_problem

Commands = argparse._SubParsersAction


class Help(argparse.RawDescriptionHelpFormatter):
  """Help that fits a screen: `--flag=VALUE` and its meaning on one line if possible."""

  def __init__(self, prog: str):
    columns = shutil.get_terminal_size().columns
    super().__init__(prog, max_help_position=24, width=min(columns - 2, 100))

  def _format_action_invocation(self, action: argparse.Action) -> str:
    if not action.option_strings or action.nargs == 0:
      return super()._format_action_invocation(action)
    value = self._format_args(action, action.dest.upper().replace("_", "-"))
    separator = " " if isinstance(action.nargs, int) else "="
    return f"{', '.join(action.option_strings)}{separator}{value}"


def add_command(
  commands: Commands,
  name: str,
  run: Callable[[argparse.Namespace], None],
  *,
  short: str,
  text: str,
  usage: str,
  example: str,
  devices: bool = True,
) -> argparse.ArgumentParser:
  """Add a command and return its parser.

  Args:
    commands: where to.
    name: of the command.
    run: does it; raises UserError.
    short: what it does, in the list of all commands.
    text: the same, in its own help.
    usage: its arguments.
    example: a command line.
    devices: whether it computes on JAX's devices, which are then started first.
  """
  parser: argparse.ArgumentParser = commands.add_parser(
    name,
    help=short,
    usage=f"mixit-jax {name} {usage}",
    description=text,
    epilog=f"example:\n  {example}",
    formatter_class=Help,
  )
  parser.set_defaults(run=run, parser=parser, devices=devices)
  return parser


def given(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
  """Return the flags among `names` whose values are not their defaults."""
  return [
    "RUN" if name == "model" else f"--{name.replace('_', '-')}"
    for name in names
    if getattr(options, name) != options.parser.get_default(name)
  ]


def split_names(text: str) -> tuple[str, ...]:
  """Return the names of a list that is separated by commas."""
  return tuple(name.strip() for name in text.split(","))


def stems_of(options: argparse.Namespace) -> tuple[str, ...]:
  """Return the stems of `--stems`, or those that most songs of `--songs` have.

  Raises:
    UserError: they cannot be names of stems.
  """
  from mixit_jax.data.songs import usual_stems

  named = options.stems
  stems = split_names(named) if named else usual_stems(options.songs)
  if problem := name_problem(stems):
    raise UserError(f"--stems={','.join(stems)}: {problem}")
  return stems


def add_model_argument(
  parser: argparse.ArgumentParser, nargs: str | None = None
) -> None:
  """Add the run, or folder of weights, and which of its weights."""
  parser.add_argument(
    "model", type=Path, metavar="RUN", nargs=nargs, help="run or folder of weights"
  )
  parser.add_argument(
    "--weights",
    default="mean",
    metavar="W",
    help="of a run: mean (of the best), best, latest, ema or a step [mean]",
  )


def add_chunk_options(parser: argparse.ArgumentParser) -> None:
  """Add how a model separates long recordings."""
  add = parser.add_argument
  add("--chunk", type=float, default=12.0, metavar="S", help="length in seconds [12]")
  add("--hop", type=float, default=6.0, metavar="S", help="from chunk to chunk [6]")
  add(
    "--window",
    choices=("mean", "triangle", "hann"),
    default="mean",
    metavar="W",
    help="weights in overlaps: mean, triangle or hann [mean]",
  )
  add(
    "--batch",
    type=int,
    metavar="N",
    help="chunks at a time on each device [1 on a CPU, else by its memory]",
  )
  add_precision_option(parser)


def add_precision_option(parser: argparse.ArgumentParser) -> None:
  """Add the precision of the computation."""
  parser.add_argument(
    "--precision",
    choices=("float32", "bfloat16"),
    metavar="P",
    help="float32 or bfloat16 [as the model's configuration says]",
  )


def add_page_option(parser: argparse.ArgumentParser) -> None:
  """Add the folder of a listening page."""
  parser.add_argument(
    "--page", type=Path, metavar="DIR", help="write pages to listen to the songs [-]"
  )


def add_quiet_option(parser: argparse.ArgumentParser) -> None:
  """Add silence."""
  parser.add_argument("--quiet", action="store_true", help="show only problems [no]")


def add_card_options(parser: argparse.ArgumentParser) -> None:
  """Add what a model card states."""
  parser.add_argument(
    "--license", default="", metavar="TEXT", help="of the weights, for the card [-]"
  )
  parser.add_argument(
    "--training-data",
    default="",
    metavar="TEXT",
    help="for the card [what the weights state]",
  )
