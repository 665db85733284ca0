"""`mixit-jax plot`: curves, channel selections and scores as pictures."""

import argparse
from pathlib import Path

from mixit_jax.commands.options import Commands, add_command
from mixit_jax.commands.reports import say


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "plot",
    run,
    short="draw training curves, channel selections and scores",
    text="""\
Draw training curves of runs in one figure, the channel selection of each, and of
files of evaluate --json the scores of all songs. Needs the extra `plot`.""",
    usage="RUN|FILE... [OPTION...]",
    example="mixit-jax plot runs/pretrain runs/finetune scores.json --out=plots",
    devices=False,
  )
  add = parser.add_argument
  add(
    "sources",
    nargs="+",
    type=Path,
    metavar="RUN|FILE",
    help="runs, files of evaluate --json and of select-channels --json",
  )
  out = Path("plots")
  add("--out", type=Path, default=out, metavar="DIR", help="their folder [plots]")
  kinds = ("png", "svg")
  add("--format", choices=kinds, default="png", metavar="F", help="png or svg [png]")


def run(options: argparse.Namespace) -> None:
  """Draw, and name the files."""
  from mixit_jax.plots.command import plot

  for file in plot(options.sources, options.out, options.format):
    say(str(file))
