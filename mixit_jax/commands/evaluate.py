"""`mixit-jax evaluate`: scores of a model, or of anybody's stems, on whole songs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mixit_jax.commands.compare import compare_files
from mixit_jax.commands.models import OF_A_RUN, load_model
from mixit_jax.commands.options import (
  Commands,
  add_chunk_options,
  add_command,
  add_model_argument,
  add_page_option,
  add_quiet_option,
  given,
  stems_of,
)
from mixit_jax.commands.reports import log
from mixit_jax.errors import UserError

if TYPE_CHECKING:
  from mixit_jax.evaluation.results import Evaluation
  from mixit_jax.evaluation.song_scores import Plan


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "evaluate",
    run,
    short="score a model, or anybody's stems, on whole songs",
    text="""\
Score a run, or with --estimates anybody's stems, on songs with references:
uSDR and cSDR of each stem, with 95 % intervals over the songs. --compare shows how
two results differ. Exit status: 0; 1 a song could not be scored; 130 Ctrl-C.""",
    usage="[RUN] --songs=DIR [--estimates=DIR] [OPTION...]\n"
    "       mixit-jax evaluate --compare A.json B.json",
    example="mixit-jax evaluate runs/finetune --songs=musdb18hq/test"
    " --json=scores.json",
  )
  add_model_argument(parser, nargs="?")
  add = parser.add_argument
  add("--songs", type=Path, metavar="DIR", help="song folders with a file per stem")
  add(
    "--estimates",
    type=Path,
    metavar="DIR",
    help="score these stems, DIR/<song>/<stem>.wav, instead of a run",
  )
  add(
    "--stems",
    metavar="A,B",
    help="of the estimates, to score [those that most songs have]",
  )
  add(
    "--compare",
    nargs=2,
    type=Path,
    metavar=("A", "B"),
    help="differences of two files of --json, song by song",
  )
  add(
    "--json",
    type=Path,
    metavar="FILE",
    help="write all scores, after each song; started again, the same"
    " command goes on from there [-]",
  )
  add("--csv", type=Path, metavar="FILE", help="write a row per song and stem [-]")
  add("--per-song", action="store_true", help="print a table of songs, too [no]")
  add_page_option(parser)
  add("--overwrite", action="store_true", help="forget what --json holds [go on]")
  add_quiet_option(parser)
  add(
    "--jobs",
    type=int,
    metavar="N",
    help="songs at a time [a run: 1, estimates: one per processor]",
  )
  add_chunk_options(parser)


def run(options: argparse.Namespace) -> None:
  """Score, or compare scores."""
  from mixit_jax.evaluation.results import earlier_results, write_csv
  from mixit_jax.evaluation.song_scores import score_songs
  from mixit_jax.evaluation.tables import score_table, song_table
  from mixit_jax.files import write_json
  from mixit_jax.inference.report import TerminalReport

  _check_outputs(options)
  if options.compare:
    compare_files(options)
    return
  _check_flags(options)
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
    log(f"listen: {write_overview(options.page, f'Scores of {judged}')}")
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


def _check_flags(options: argparse.Namespace) -> None:
  if (options.model is None) == (options.estimates is None):
    both = "not both" if options.model else "or --compare=A.json B.json"
    raise UserError(f"give a RUN or --estimates=DIR, {both}; see --help")
  if options.songs is None:
    raise UserError("--songs is missing: the folder of songs with their references")
  if options.stems is not None and options.estimates is None:
    raise UserError("--stems is for --estimates; a run has names for its outputs")
  if options.estimates is not None and (idle := given(options, OF_A_RUN)):
    raise UserError(f"--estimates separates nothing; it has no use for {idle[0]}")
  if options.jobs is not None and not 1 <= options.jobs <= 256:
    raise UserError(f"--jobs={options.jobs}: expected 1 to 256 songs at a time")


def _plan(options: argparse.Namespace) -> Plan:
  """Plan an evaluation of a run or of estimates; the latter needs no JAX."""
  if options.estimates is None:
    from mixit_jax.inference.evaluate import model_plan

    return model_plan(load_model(options), options.songs, options.jobs or 1)
  from mixit_jax.evaluation.estimate_files import estimates_plan

  jobs = options.jobs or os.cpu_count() or 1
  return estimates_plan(options.estimates, options.songs, stems_of(options), jobs)
