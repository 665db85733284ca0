"""The `mixit-jax` commands; each one is a thin call."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
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
from mixit_jax.options import TORCH_OVERRIDES, make_parser
from mixit_jax.stems import name_problem

if TYPE_CHECKING:
  from mixit_jax.inference.model import Model


def main(arguments: Sequence[str] | None = None) -> int:
  """Run a command and return its exit status."""
  write_any_text()
  parser = make_parser(__doc__)
  options, rest = parser.parse_known_args(expand_home(arguments))
  options.overrides = rest
  if rest and options.command != "doctor":
    parser.error(f"unrecognized arguments: {' '.join(rest)}")

  def command() -> None:
    # Doctor reports on the devices itself; status leaves them to the runs.
    if options.command not in ("doctor", "status"):
      from mixit_jax.devices.start import check_devices

      check_devices()
    _COMMANDS[options.command](options)

  with own_stderr(), ended_by_term():
    return run_command(command)


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
  from mixit_jax.data.songs import agreed_stems, find_songs
  from mixit_jax.evaluation.channels import SELECTION_FILE, write_selection
  from mixit_jax.evaluation.selection import select_channels
  from mixit_jax.evaluation.tables import selection_table
  from mixit_jax.inference.model import load

  if not 0 < options.seconds <= 60:
    raise UserError(f"--seconds={options.seconds:g}: expected more than 0, at most 60")
  stems = _names(options.stems) if options.stems else agreed_stems(options.songs)
  if problem := name_problem(stems):
    raise UserError(f"--stems={','.join(stems)}: {problem}")
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
  given = {name: getattr(options, name) for name in TORCH_OVERRIDES}
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
    folders = [Path(name) for name in _names(options.data) if name]
    inspect(folders, options.data_all, _say)
  elif options.config is None:
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


_COMMANDS = {
  "separate": _separate,
  "evaluate": _evaluate,
  "select-channels": _select_channels,
  "import-torch": _import_torch,
  "export": _export,
  "status": _status,
  "doctor": _doctor,
}


if __name__ == "__main__":
  sys.exit(main())
