"""The `mixit-jax` commands; each one is a thin call."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixit_jax.console import (
  ended_by_term,
  expand_home,
  own_stderr,
  run_command,
  write_any_text,
)
from mixit_jax.errors import UserError
from mixit_jax.stems import name_problem
from mixit_jax.version import __version__

if TYPE_CHECKING:
  from mixit_jax.inference.model import Model

# What the tensors of a PyTorch file may leave open.
_TORCH_OVERRIDES = (
  "n_heads",
  "n_groups",
  "num_channels",
  "n_fft",
  "hop",
  "sample_rate",
)


def main(arguments: Sequence[str] | None = None) -> int:
  """Run a command and return its exit status."""
  write_any_text()
  parser = _parser()
  given = sys.argv[1:] if arguments is None else arguments
  options, rest = parser.parse_known_args(expand_home(given))
  options.overrides = rest
  if rest and options.run is not _doctor:
    parser.error(f"unrecognized arguments: {' '.join(rest)}")

  def command() -> None:
    # Doctor reports on the devices itself; status leaves them to the runs.
    if options.run not in (_doctor, _status):
      from mixit_jax.devices.start import check_devices

      check_devices()
    options.run(options)

  with own_stderr(), ended_by_term():
    return run_command(command)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="mixit-jax", description=__doc__)
  parser.add_argument("--version", action="version", version=__version__)
  commands = parser.add_subparsers(required=True, metavar="COMMAND")

  separate = _model_command(
    commands, "separate", _separate, "separate recordings into stems"
  )
  separate.add_argument(
    "inputs", nargs="+", type=Path, metavar="INPUT", help="file, folder, or - for stdin"
  )
  separate.add_argument("--out", type=Path, required=True, help="folder of the stems")
  separate.add_argument("--stems", help="write only these, separated by commas [all]")
  separate.add_argument(
    "--minus", default="", help="also write the recording without these, as no_NAME"
  )
  separate.add_argument(
    "--format", choices=("wav", "flac", "mp3", "ogg"), default="wav", help="[wav]"
  )
  separate.add_argument("--bits", help="float, 24 or 16 [wav: float, flac: 24]")
  separate.add_argument("--bitrate", type=int, help="of mp3, constant, kbit/s [256]")
  separate.add_argument(
    "--peaks",
    choices=("keep", "scale", "clip"),
    help="samples above full scale: keep them (wav in float, mp3, ogg), scale all files"
    " of a recording by one factor, or clip [keep, or clip with 24 or 16 bits]",
  )
  separate.add_argument(
    "--rate",
    choices=("input", "model"),
    default="input",
    help="sample rate of the stems [input]",
  )
  separate.add_argument(
    "--downmix", action="store_true", help="take recordings of more channels"
  )
  separate.add_argument(
    "--sum-to-mixture", action="store_true", help="the outputs sum to the recording"
  )
  separate.add_argument(
    "--shifts", type=int, default=1, help="separate so often, shifted; mean [1]"
  )
  separate.add_argument(
    "--also",
    action="append",
    default=[],
    type=Path,
    metavar="RUN",
    help="average with this run, too; may be repeated",
  )
  separate.add_argument(
    "--shares", help="of RUN and each --also in the average, e.g. 2,1 [equal]"
  )
  separate.add_argument(
    "--overwrite", action="store_true", help="replace stems that are there already"
  )
  _chunk_options(separate)

  evaluate = _model_command(
    commands, "evaluate", _evaluate, "score a model on whole songs"
  )
  evaluate.add_argument("--songs", type=Path, required=True, help="folder of songs")
  evaluate.add_argument("--json", type=Path, help="also write all scores to this file")
  _chunk_options(evaluate)

  select = _model_command(
    commands,
    "select-channels",
    _select_channels,
    "see which outputs of a pre-trained model are the stems",
  )
  select.add_argument("--songs", type=Path, required=True, help="validation songs")
  select.add_argument(
    "--stems", default="bass,drums,vocals,other", help="names, separated by commas"
  )
  select.add_argument("--seconds", type=float, default=6.0, help="length of the chunks")
  _precision_option(select)
  select.add_argument(
    "--json", type=Path, help="file of the result [RUN/channel_selection.json]"
  )

  importing = _command(
    commands,
    "import-torch",
    _import_torch,
    "make a folder of weights from a PyTorch file; no code in the file is executed",
  )
  importing.add_argument("file", type=Path, metavar="FILE", help="model.pth")
  importing.add_argument("--out", type=Path, required=True, help="new folder")
  importing.add_argument(
    "--merged-config", type=Path, help="[merged_config.yaml beside the file]"
  )
  importing.add_argument(
    "--stems",
    help="names of the outputs, separated by commas, or none for a pre-trained model "
    "[four outputs: bass,drums,vocals,other; else none]",
  )
  for name in _TORCH_OVERRIDES:
    importing.add_argument(
      f"--{name.replace('_', '-')}", type=int, help="where the file does not tell it"
    )
  _card_options(importing)

  exporting = _model_command(
    commands, "export", _export, "make a folder of weights with a model card"
  )
  exporting.add_argument("--out", type=Path, required=True, help="new folder")
  exporting.add_argument(
    "--format",
    choices=("safetensors", "orbax", "torch"),
    default="safetensors",
    help="torch: a state dict for the paper's code [safetensors]",
  )
  exporting.add_argument(
    "--scores", type=Path, metavar="FILE", help="of evaluate --json, for the card"
  )
  _card_options(exporting)

  status = _command(
    commands, "status", _status, "see how runs stand, while they train or later"
  )
  status.add_argument("runs", nargs="+", type=Path, metavar="RUN")
  status.add_argument(
    "--json", action="store_true", help="print a list of JSON objects instead"
  )

  doctor = _command(
    commands,
    "doctor",
    _doctor,
    "see whether this machine is ready, or with --config what a run will need",
  )
  doctor.usage = "%(prog)s [--config=FILE[:NAME]] [--config.KEY=…] [OPTION…]"
  doctor.add_argument(
    "--config",
    metavar="FILE[:NAME]",
    help="compile the step of this run, for its memory and hours; overrides as in "
    "training, e.g. --config.run.batch=32; no data is read",
  )
  doctor.add_argument(
    "--topology",
    metavar="KIND:SHAPE",
    help="of devices that are not here, e.g. v5e:4x4 or h100:8 [those of this machine]",
  )
  doctor.add_argument(
    "--utilization",
    type=float,
    default=45,
    metavar="PERCENT",
    help="of the peak that the run is assumed to reach [45]",
  )
  doctor.add_argument(
    "--peak-tflops",
    type=float,
    metavar="TFLOPS",
    help="peak of each device in TFLOP/s [what is known of its kind]",
  )
  return parser


def _command(
  commands: argparse._SubParsersAction[argparse.ArgumentParser],
  name: str,
  run: Callable[[argparse.Namespace], None],
  text: str,
) -> argparse.ArgumentParser:
  parser = commands.add_parser(name, help=text, description=text)
  parser.set_defaults(run=run)
  return parser


def _model_command(
  commands: argparse._SubParsersAction[argparse.ArgumentParser],
  name: str,
  run: Callable[[argparse.Namespace], None],
  text: str,
) -> argparse.ArgumentParser:
  parser = _command(commands, name, run, text)
  parser.add_argument(
    "model", type=Path, metavar="RUN", help="run or folder of weights"
  )
  parser.add_argument(
    "--weights",
    default="mean",
    help="of a run: mean (of the best checkpoints), best, latest, ema or a step [mean]",
  )
  return parser


def _chunk_options(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--chunk", type=float, default=12.0, help="seconds [12]")
  parser.add_argument("--hop", type=float, default=6.0, help="seconds [6]")
  parser.add_argument(
    "--window",
    choices=("mean", "triangle", "hann"),
    default="mean",
    help="weights where chunks overlap [mean]",
  )
  parser.add_argument(
    "--batch",
    type=int,
    metavar="N",
    help="chunks that each device separates together [1 on a CPU, else by its memory]",
  )
  _precision_option(parser)


def _precision_option(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--precision",
    choices=("float32", "bfloat16"),
    help="type of the computation [as the model's configuration says]",
  )


def _card_options(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--license", default="", help="of the weights, for the card")
  parser.add_argument("--training-data", default="", help="text for the card")


def _separate(options: argparse.Namespace) -> None:
  from mixit_jax.inference.estimates import Member
  from mixit_jax.inference.report import TerminalReport
  from mixit_jax.inference.request import Request
  from mixit_jax.inference.separate import check_writable, separate_files

  request = Request(
    stems=_names(options.stems) if options.stems is not None else None,
    minus=_names(options.minus) if options.minus else (),
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
    Member(_load(options, run), share) for run, share in zip(runs, shares, strict=True)
  ]
  outcome = separate_files(
    members, options.inputs, options.out, request, TerminalReport()
  )
  if outcome.failures:
    total = len(outcome.folders) + len(outcome.failures)
    for failure in outcome.failures if len(outcome.failures) > 1 else ():
      _log(f"failed: {failure}")
    last = f": {outcome.failures[0]}" if len(outcome.failures) == 1 else ""
    raise UserError(f"{len(outcome.failures)} of {total} not separated{last}")


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


def _evaluate(options: argparse.Namespace) -> None:
  from mixit_jax.evaluation.tables import score_table
  from mixit_jax.files import check_file_writable, write_json
  from mixit_jax.inference.evaluate import evaluate

  if options.json:
    check_file_writable(options.json)
  evaluation = evaluate(_load(options), options.songs, _log)
  result = evaluation.to_dict()
  print(score_table(result), flush=True)
  if options.json:
    write_json(options.json, result)
  if failed := evaluation.failed:
    for name, reason in failed.items():
      _log(f"failed: {name}: {reason}")
    total = len(failed) + len(evaluation.songs)
    raise UserError(f"{len(failed)} of {total} songs could not be scored")


def _select_channels(options: argparse.Namespace) -> None:
  from mixit_jax.data.songs import find_songs
  from mixit_jax.evaluation.channels import SELECTION_FILE, write_selection
  from mixit_jax.evaluation.selection import select_channels
  from mixit_jax.evaluation.tables import selection_table
  from mixit_jax.inference.model import load

  if not 0 < options.seconds <= 60:
    raise UserError(f"--seconds={options.seconds:g}: expected more than 0, at most 60")
  stems = _names(options.stems)
  if problem := name_problem(stems):
    raise UserError(f"--stems={options.stems}: {problem}")
  model = load(options.model, options.weights, options.precision)
  if not options.seconds * model.sample_rate > model.config.n_fft / 2:
    raise UserError(
      f"--seconds={options.seconds:g}: shorter than half a window of the model"
    )
  selection = select_channels(
    model.separate_chunks,
    model.config,
    find_songs(options.songs, stems),
    stems,
    options.seconds,
    batch=model.chunk_batch(round(options.seconds * model.sample_rate)),
    progress=_log,
  )
  print(selection_table(selection.to_dict()), flush=True)
  file = options.json or options.model / SELECTION_FILE
  write_selection(file, selection, model.card)


def _import_torch(options: argparse.Namespace) -> None:
  from mixit_jax.inference.importing import import_torch

  stems = None if options.stems is None else _names(options.stems)
  given = {name: getattr(options, name) for name in _TORCH_OVERRIDES}
  weights = import_torch(
    options.file,
    options.out,
    options.merged_config,
    () if stems == ("none",) else stems,
    options.training_data,
    options.license,
    **{name: value for name, value in given.items() if value is not None},
  )
  names = ", ".join(weights.stems or ()) or "without names, as of a pre-trained model"
  assumed = " (assumed; --stems says otherwise)" if stems is None else ""
  print(f"{options.out}: {weights.config.num_sources} outputs, {names}{assumed}")


def _export(options: argparse.Namespace) -> None:
  from mixit_jax.inference.exporting import export

  export(
    options.model,
    options.out,
    options.weights,
    options.format,
    options.training_data,
    options.license,
    options.scores,
  )
  print(f"{options.out}: {options.format}, with a model card in README.md")


def _status(options: argparse.Namespace) -> None:
  import json

  from mixit_jax.training.status import run_status, status_table

  statuses = [run_status(run) for run in options.runs]
  print(json.dumps(statuses, indent=2) if options.json else status_table(statuses))


def _doctor(options: argparse.Namespace) -> None:
  from mixit_jax.doctor.command import diagnose, forecast

  if not 0 < options.utilization <= 100:
    raise UserError(
      f"--utilization={options.utilization:g} is not a percentage above 0"
    )
  if options.peak_tflops is not None and not 0 < options.peak_tflops < math.inf:
    raise UserError(f"--peak-tflops={options.peak_tflops:g} must be a positive number")
  if options.config is None:
    if options.overrides or options.topology:
      needing = (*options.overrides, "--topology")[0]
      raise UserError(f"{needing} needs --config; see --help")
    diagnose(_say)
  else:
    flags = [f"--config={options.config}", *options.overrides]
    peak, topology = options.peak_tflops, options.topology
    forecast(flags, options.utilization / 100, peak, topology, _say)


def _load(options: argparse.Namespace, run: Path | None = None) -> Model:
  from mixit_jax.inference.model import Model, load

  weights = load(run or options.model, options.weights).weights
  return Model(
    weights,
    options.chunk,
    options.hop,
    options.batch,
    options.precision,
    options.window,
  )


def _names(text: str) -> tuple[str, ...]:
  return tuple(name.strip() for name in text.split(","))


def _say(text: str) -> None:
  print(text, flush=True)  # the next line may take a minute


def _log(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
  sys.exit(main())
