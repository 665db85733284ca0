"""`mixit-jax evaluate --compare`: how two results differ."""

import argparse

from mixit_jax.commands.models import OF_A_RUN
from mixit_jax.commands.options import given
from mixit_jax.commands.reports import log
from mixit_jax.errors import UserError


def compare_files(options: argparse.Namespace) -> None:
  """Show how two results of `evaluate --json` differ, song by song."""
  from mixit_jax.evaluation.comparison import compare
  from mixit_jax.evaluation.results import read_evaluation, write_csv
  from mixit_jax.evaluation.tables import comparison_table
  from mixit_jax.files import write_json

  if idle := given(options, ("model", "songs", "estimates", "page", *OF_A_RUN)):
    raise UserError(f"--compare reads two files; it has no use for {', '.join(idle)}")
  for file in filter(None, (options.json, options.csv)):
    if file.exists() and not options.overwrite:
      raise UserError(f"{file} is there already; --overwrite replaces it")
  evaluations = [read_evaluation(file) for file in options.compare]
  for file, evaluation in zip(options.compare, evaluations, strict=True):
    if missing := len(evaluation.unfinished) + len(evaluation.failed):
      log(f"warning: {file}: {missing} songs have no scores")
  comparison = compare(*evaluations)
  result = comparison.to_dict()
  print(comparison_table(result), flush=True)
  if options.json:
    write_json(options.json, result)
  if options.csv:
    write_csv(options.csv, comparison.to_csv())
