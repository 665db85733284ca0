"""`mixit-jax plot`: what each argument is, and which plots there are of it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import SELECTION_FILE
from mixit_jax.evaluation.results import read_evaluation
from mixit_jax.files import check_file_writable, read_json
from mixit_jax.plots.curves import plot_curves
from mixit_jax.plots.distributions import plot_scores
from mixit_jax.plots.figures import check_matplotlib
from mixit_jax.plots.matrix import plot_selection

FORMATS = ("png", "svg")


def plot(sources: Sequence[Path], out: Path, kind: str = "png") -> list[Path]:
  """Draw all plots that there are of some runs and files.

  Runs give their training curves, in one figure, and the channel selection that they
  were started from or have. Scores of `mixit-jax evaluate --json` give distributions,
  in one figure; selections of `mixit-jax select-channels --json` a matrix each.

  Args:
    sources: working directories of runs, and JSON files.
    out: folder of the plots.
    kind: "png" or "svg".

  Returns:
    the files.

  Raises:
    UserError: matplotlib is missing, a source is nothing of this, or the folder is not
      writable.
  """
  check_matplotlib()
  names = dict(zip(sources, short_names(sources), strict=True))
  runs = {names[source]: source for source in sources if source.is_dir()}
  scores: dict[str, Path] = {}
  selections: dict[str, dict[str, Any]] = {}
  for name, run in runs.items():
    if (run / SELECTION_FILE).is_file():
      selection = read_json(run / SELECTION_FILE)
      # Fine-tuning keeps that of the run which it began with.
      if not any(_same(selection, other) for other in selections.values()):
        selections[name] = selection
  for source in sources:
    if source.is_dir():
      continue
    document = read_json(source)
    if "votes" in document:
      selections[names[source]] = document
    elif "songs" in document and "estimates" in document:
      scores[names[source]] = source
    else:
      raise UserError(
        f"{source}: expected what `evaluate --json` or `select-channels` writes, or the"
        " folder of a run"
      )
  evaluations = {name: read_evaluation(file) for name, file in scores.items()}
  check_file_writable(out / f"curves.{kind}")
  files = []
  if runs:
    files.append(out / f"curves.{kind}")
    plot_curves(runs, files[-1])
  for name, selection in selections.items():
    files.append(out / f"selection-{name.replace(os.sep, '-')}.{kind}")
    plot_selection(selection, name, files[-1])
  if evaluations:
    files.append(out / f"scores.{kind}")
    plot_scores(evaluations, files[-1])
  return files


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
  return all(one.get(key) == other.get(key) for key in ("stems", "outputs", "votes"))


def short_names(paths: Sequence[Path]) -> list[str]:
  """Name paths by as many of their last parts as tell all of them apart.

  Suffixes of files are left out where the names still differ.

  Raises:
    UserError: a path is given twice.
  """
  whole = [path.resolve() for path in paths]
  for index, path in enumerate(whole):
    if path in whole[:index]:
      raise UserError(f"{paths[index]}: is given twice")
  parts = [(*path.parts[1:-1], path.stem) for path in whole]
  if len(set(parts)) < len(parts):
    parts = [path.parts[1:] for path in whole]
  for count in range(1, max(map(len, parts)) + 1):
    names = [str(Path(*part[-count:])) for part in parts]
    if len(set(names)) == len(names):
      return names
  return [str(path) for path in whole]
