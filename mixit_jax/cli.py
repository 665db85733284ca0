"""The `mixit-jax` commands; each one is a thin call."""

from __future__ import annotations

import argparse
import math
import os
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
from mixit_jax.errors import UserError, one_line
from mixit_jax.options import TORCH_OVERRIDES, flags_of, given, make_parser
from mixit_jax.stems import name_problem

if TYPE_CHECKING:
  from mixit_jax.evaluation.results import Evaluation
  from mixit_jax.evaluation.song_scores import Plan
  from mixit_jax.inference.model import Model

_DESCRIPTION = (
  "Music source separation: separate recordings, score separations, pass models on."
)


# Flags that decide how a model separates.
_OF_A_RUN = ("weights", "chunk", "hop", "window", "batch", "precision")


def main(arguments: Sequence[str] | None = None) -> int:
  """Run a command and return its exit status."""
  write_any_text()
  parser = make_parser(_DESCRIPTION)
  options, rest = parser.parse_known_args(expand_home(arguments))
  options.overrides = rest
  if rest and options.command != "doctor":
    parser.error(f"unrecognized arguments: {' '.join(rest)}")

  def command() -> None:
    # Doctor reports on the devices itself; others do without.
    needless = options.command in ("doctor", "status", "plot", "completion")
    if not needless and getattr(options, "model", True) is not None:
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
  pages = None
  if options.page:
    from mixit_jax.inference.listening import pages_of

    pages = pages_of(options.out, options.model, members[0].model)
  outcome = separate_files(
    members, options.inputs, options.out, request, TerminalReport(options.quiet), pages
  )
  total = len(outcome.folders) + len(outcome.failures)
  _end(outcome.failures, total, "not separated")


def _end(failures: Sequence[str], total: int, what: str) -> None:
  """Raise a UserError where items failed; tell each again, on a line of its own."""
  if len(failures) > 1:
    for failure in failures:
      _log(f"failed: {failure}")
  if failures:
    last = f": {failures[0]}" if len(failures) == 1 else ""
    raise UserError(f"{len(failures)} of {total} {what}{last}")


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
  from mixit_jax.evaluation.results import earlier_results, write_csv
  from mixit_jax.evaluation.song_scores import score_songs
  from mixit_jax.evaluation.tables import score_table, song_table
  from mixit_jax.files import write_json
  from mixit_jax.inference.report import TerminalReport

  _check_outputs(options)
  if options.compare:
    _compare(options)
    return
  _check_evaluate(options)
  plan = _plan(options)._replace(pages=options.page)
  earlier = {}
  if options.json and not options.overwrite:
    earlier = earlier_results(options.json, plan.settings)

  def keep(evaluation: Evaluation) -> None:
    if options.json:
      write_json(options.json, evaluation.to_dict())

  evaluation = score_songs(plan, earlier, TerminalReport(options.quiet), keep)
  result = evaluation.to_dict()
  print(score_table(result), flush=True)
  if options.per_song:
    print("\n" + song_table(result), flush=True)
  keep(evaluation)
  if options.csv:
    write_csv(options.csv, evaluation.to_csv())
  if options.page:
    from mixit_jax.page.overview import write_overview

    judged = (options.model or options.estimates).resolve().name
    _log(f"listen: {write_overview(options.page, f'Scores of {judged}')}")
  if failed := evaluation.failed:
    total = len(failed) + len(evaluation.songs)
    raise UserError(f"{len(failed)} of {total} songs could not be scored")


def _check_outputs(options: argparse.Namespace) -> None:
  """Raise a UserError unless the files to write can be written, before any work."""
  from mixit_jax.files import check_file_writable

  files = [file for file in (options.json, options.csv) if file]
  for file in files:
    check_file_writable(file)
  if len({file.resolve() for file in files}) < len(files):
    raise UserError(f"--json and --csv are the same file: {options.csv}")
  if options.page:
    from mixit_jax.page.overview import check_overview

    check_overview(options.page)


def _check_evaluate(options: argparse.Namespace) -> None:
  if (options.model is None) == (options.estimates is None):
    both = "not both" if options.model else "or --compare=A.json B.json"
    raise UserError(f"give a RUN or --estimates=DIR, {both}; see --help")
  if options.songs is None:
    raise UserError("--songs is missing: the folder of songs with their references")
  if options.stems is not None and options.estimates is None:
    raise UserError("--stems is for --estimates; a run has names for its outputs")
  if options.estimates is not None and (idle := given(options, _OF_A_RUN)):
    raise UserError(f"--estimates separates nothing; it has no use for {idle[0]}")
  if options.jobs is not None and not 1 <= options.jobs <= 256:
    raise UserError(f"--jobs={options.jobs}: expected 1 to 256 songs at a time")


def _plan(options: argparse.Namespace) -> Plan:
  """Plan an evaluation of a run or of estimates; the latter needs no JAX."""
  if options.estimates is None:
    from mixit_jax.inference.evaluate import model_plan

    return model_plan(_load(options), options.songs, options.jobs or 1)
  from mixit_jax.data.songs import usual_stems
  from mixit_jax.evaluation.estimate_files import estimates_plan

  stems = _names(options.stems) if options.stems else usual_stems(options.songs)
  if problem := name_problem(stems):
    raise UserError(f"--stems={','.join(stems)}: {problem}")
  jobs = options.jobs or os.cpu_count() or 1
  return estimates_plan(options.estimates, options.songs, stems, jobs)


def _compare(options: argparse.Namespace) -> None:
  from mixit_jax.evaluation.comparison import compare
  from mixit_jax.evaluation.results import read_evaluation, write_csv
  from mixit_jax.evaluation.tables import comparison_table
  from mixit_jax.files import write_json

  if idle := given(options, ("model", "songs", "estimates", "page", *_OF_A_RUN)):
    raise UserError(f"--compare reads two files; it has no use for {', '.join(idle)}")
  for file in filter(None, (options.json, options.csv)):
    if file.exists() and not options.overwrite:
      raise UserError(f"{file} is there already; --overwrite replaces it")
  evaluations = [read_evaluation(file) for file in options.compare]
  for file, evaluation in zip(options.compare, evaluations, strict=True):
    if missing := len(evaluation.unfinished) + len(evaluation.failed):
      _log(f"warning: {file}: {missing} songs have no scores")
  comparison = compare(*evaluations)
  result = comparison.to_dict()
  print(comparison_table(result), flush=True)
  if options.json:
    write_json(options.json, result)
  if options.csv:
    write_csv(options.csv, comparison.to_csv())


def _select_channels(options: argparse.Namespace) -> None:
  from mixit_jax.data.songs import song_folders, usual_stems
  from mixit_jax.evaluation.channels import SELECTION_FILE, write_selection
  from mixit_jax.evaluation.selection import select_channels
  from mixit_jax.evaluation.tables import selection_table
  from mixit_jax.files import check_file_writable
  from mixit_jax.inference.model import load
  from mixit_jax.inference.report import TerminalReport

  if not 0 < options.seconds <= 60:
    raise UserError(f"--seconds={options.seconds:g}: expected more than 0, at most 60")
  stems = _names(options.stems) if options.stems else usual_stems(options.songs)
  if problem := name_problem(stems):
    raise UserError(f"--stems={','.join(stems)}: {problem}")
  if options.json:
    check_file_writable(options.json)
  if options.page:
    from mixit_jax.page.overview import check_overview

    check_overview(options.page)
  model = load(options.model, options.weights, options.precision)
  if not options.seconds * model.sample_rate > model.config.n_fft / 2:
    raise UserError(
      f"--seconds={options.seconds:g}: shorter than half a window of the model"
    )
  songs = song_folders(options.songs, stems)
  failures: dict[Path, str] = {}

  def left_out(folder: Path, error: Exception) -> None:
    failures[folder] = f"{folder.name}: {one_line(error)}"
    _log(f"left out: {failures[folder]}")

  report = TerminalReport(options.quiet)
  selection = select_channels(
    model.separate_chunks,
    model.config,
    songs,
    stems,
    options.seconds,
    batch=model.chunk_batch(round(options.seconds * model.sample_rate)),
    progress=report.note,
    left_out=left_out,
  )
  print(selection_table(selection.to_dict()), flush=True)
  file = options.json or options.model / SELECTION_FILE
  write_selection(file, selection, model.card)
  if options.page:
    from mixit_jax.inference.listening import write_selection_pages

    heard = [song for song in songs if song not in failures]
    name = options.model.resolve().name
    write_selection_pages(model, heard, selection.to_dict(), options.page, name, report)
    report.note(f"listen: {options.page / 'index.html'}")
  _end(list(failures.values()), len(songs), "songs could not be read")


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


def _plot(options: argparse.Namespace) -> None:
  from mixit_jax.plots.command import plot

  for file in plot(options.sources, options.out, options.format):
    _say(str(file))


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


def _completion(options: argparse.Namespace) -> None:
  import shtab

  parser = make_parser(None)
  for action in flags_of(parser):
    if action.type is Path:
      action.complete = shtab.FILE  # type: ignore[attr-defined]
  print(shtab.complete(parser, options.shell))


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
  "plot": _plot,
  "doctor": _doctor,
  "completion": _completion,
}


if __name__ == "__main__":
  sys.exit(main())
