"""`mixit-jax separate`: recordings into stems."""

import argparse
from pathlib import Path

from mixit_jax.commands.models import load_model
from mixit_jax.commands.options import (
  Commands,
  add_chunk_options,
  add_command,
  add_model_argument,
  add_quiet_option,
  split_names,
)
from mixit_jax.commands.reports import end_with
from mixit_jax.errors import UserError


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "separate",
    run,
    short="separate recordings into stems",
    text="""\
Separate recordings into stems, each a file of the recording's rate and length:
DIR/<recording>/<stem>.wav. What fails is named, and the rest is separated.
Exit status: 0; 1 something was not separated; 2 wrong flags; 130 Ctrl-C.""",
    usage="RUN INPUT... --out=DIR [OPTION...]",
    example="mixit-jax separate runs/finetune song.mp3 --out=stems --minus=vocals",
  )
  add_model_argument(parser)
  add = parser.add_argument
  add(
    "inputs",
    nargs="+",
    type=Path,
    metavar="INPUT",
    help="file, folder, or - for standard input",
  )
  add("--out", type=Path, required=True, metavar="DIR", help="folder of the stems")
  add("--stems", metavar="A,B", help="write only these [all]")
  add(
    "--minus",
    default="",
    metavar="A,B",
    help="also write the recording without each [-]",
  )
  add(
    "--format",
    choices=("wav", "flac", "mp3", "ogg"),
    default="wav",
    metavar="F",
    help="wav, flac, mp3 or ogg [wav]",
  )
  add("--bits", metavar="B", help="float, 24 or 16 [wav: float, flac: 24]")
  add("--bitrate", type=int, metavar="N", help="of mp3, constant, kbit/s [256]")
  add(
    "--peaks",
    choices=("keep", "scale", "clip"),
    metavar="P",
    help="above full scale: keep, scale (all stems by one factor) or"
    " clip [24 and 16 bits: clip, others: keep]",
  )
  add(
    "--rate",
    choices=("input", "model"),
    default="input",
    metavar="R",
    help="of the stems, that of the input or the model [input]",
  )
  add("--downmix", action="store_true", help="take more channels than the model's [no]")
  add("--sum-to-mixture", action="store_true", help="make stems sum to the input [no]")
  add("--shifts", type=int, default=1, metavar="N", help="mean of N shifted passes [1]")
  add(
    "--also",
    action="append",
    default=[],
    type=Path,
    metavar="RUN",
    help="average with this run, too; repeatable [none]",
  )
  add("--shares", metavar="X,Y", help="of RUN and each --also in the average [equal]")
  add("--overwrite", action="store_true", help="replace stems that are there [keep]")
  add("--page", action="store_true", help="also write pages to listen, in DIR [no]")
  add_quiet_option(parser)
  add_chunk_options(parser)


def run(options: argparse.Namespace) -> None:
  """Separate what the command line names."""
  from mixit_jax.inference.estimates import Member
  from mixit_jax.inference.report import TerminalReport
  from mixit_jax.inference.request import Request
  from mixit_jax.inference.separate import check_writable, separate_files

  request = Request(
    stems=split_names(options.stems) if options.stems is not None else None,
    minus=split_names(options.minus) if options.minus else (),
    sum_to_mixture=options.sum_to_mixture,
    rate=options.rate,
    downmix=options.downmix,
    shifts=options.shifts,
    format=options.format,
    bits=options.bits,
    bitrate=options.bitrate,
    peaks=options.peaks,
    overwrite=options.overwrite,
  )
  runs = [options.model, *options.also]
  shares = _shares(options.shares, len(runs))
  check_writable(options.out)
  members = [
    Member(load_model(options, run), share)
    for run, share in zip(runs, shares, strict=True)
  ]
  pages = None
  if options.page:
    from mixit_jax.inference.listening import pages_of

    pages = pages_of(options.out, options.model, members[0].model)
  outcome = separate_files(
    members, options.inputs, options.out, request, TerminalReport(options.quiet), pages
  )
  total = len(outcome.folders) + len(outcome.failures)
  end_with(outcome.failures, total, "not separated")


def _shares(text: str | None, count: int) -> list[float]:
  """Return a positive number for each of several runs."""
  if text is None:
    return [1.0] * count
  try:
    shares = [float(part) for part in text.split(",")]
  except ValueError:
    shares = []
  if len(shares) != count or not all(0 < share < 1e6 for share in shares):
    raise UserError(
      f"--shares={text}: expected {count} positive numbers, one for each run"
    )
  return shares
