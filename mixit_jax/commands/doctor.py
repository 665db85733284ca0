"""`mixit-jax doctor`: whether machine and data are ready, and what a run needs."""

import argparse
import math
from pathlib import Path

from mixit_jax.commands.options import Commands, add_command, split_names
from mixit_jax.commands.reports import say
from mixit_jax.errors import UserError


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "doctor",
    run,
    short="see whether machine and data are ready, or what a run will need",
    text="""\
See whether this machine is ready: devices, decoding, a little training. With
--config, compile the step of a run for its memory and hours; no data is read. With
--data, read prepared data as a run would, and name what is damaged.""",
    usage="[--config=FILE] [--config.KEY=...] [--data=DIR] [OPTION...]",
    example="mixit-jax doctor --config=configs/pretrain.py:medium --topology=v5e:4x4",
    devices=False,
  )
  add = parser.add_argument
  add(
    "--data",
    metavar="DIR",
    help="some records of each shard and every validation song, in a minute; several"
    " folders are separated by commas [only look at the machine]",
  )
  add("--data-all", action="store_true", help="read every record of --data [some]")
  add(
    "--config",
    metavar="FILE",
    help="FILE or FILE:NAME, with overrides as in training, such as"
    " --config.run.batch=32 [only look at the machine]",
  )
  add(
    "--topology",
    metavar="KIND:SHAPE",
    help="of devices that are not here, such as v5e:4x4 or h100:8 [those"
    " of this machine]",
  )
  add(
    "--utilization",
    type=float,
    default=45,
    metavar="PERCENT",
    help="of the peak, that the run is assumed to reach [45]",
  )
  add(
    "--peak-tflops",
    type=float,
    metavar="X",
    help="peak of each device in TFLOP/s [what is known of its kind]",
  )


def run(options: argparse.Namespace) -> None:
  """Answer the question that the flags ask."""
  from mixit_jax.doctor.command import diagnose, forecast, inspect

  if not 0 < options.utilization <= 100:
    raise UserError(
      f"--utilization={options.utilization:g} is not a percentage above 0"
    )
  if options.peak_tflops is not None and not 0 < options.peak_tflops < math.inf:
    raise UserError(f"--peak-tflops={options.peak_tflops:g} must be a positive number")
  if options.data_all and not options.data:
    raise UserError("--data-all needs --data; see --help")
  if options.data:
    if options.config is not None or options.overrides or options.topology:
      raise UserError("--data is a question of its own; ask the other ones without it")
    folders = [Path(name) for name in split_names(options.data) if name]
    inspect(folders, options.data_all, say)
  elif options.config is None:
    if options.overrides or options.topology:
      needing = (*options.overrides, "--topology")[0]
      raise UserError(f"{needing} needs --config; see --help")
    diagnose(say)
  else:
    flags = [f"--config={options.config}", *options.overrides]
    peak, topology = options.peak_tflops, options.topology
    forecast(flags, options.utilization / 100, peak, topology, say)
