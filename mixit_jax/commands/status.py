"""`mixit-jax status`: how runs stand."""

import argparse
import json
from pathlib import Path

from mixit_jax.commands.options import Commands, add_command


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "status",
    run,
    short="see how runs stand, while they train or later",
    text="See how runs stand, while they train or later: steps, losses, time left.",
    usage="RUN... [--json]",
    example="mixit-jax status runs/*",
    devices=False,
  )
  add = parser.add_argument
  add("runs", nargs="+", type=Path, metavar="RUN", help="working directories of runs")
  add("--json", action="store_true", help="print a list of JSON objects instead [no]")


def run(options: argparse.Namespace) -> None:
  """Print a table, or JSON."""
  from mixit_jax.training.status import run_status, status_table

  statuses = [run_status(run) for run in options.runs]
  print(json.dumps(statuses, indent=2) if options.json else status_table(statuses))
