"""Separation of files: every recording gets a folder with a file for each result.

What is asked stands in `request`, which files in `inputs`, the way of one recording in
`estimates`, and how its results are written in `stem_files`.
"""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mixit_jax.audio.recording import Recording, check_recording
from mixit_jax.data.ahead import one_ahead
from mixit_jax.errors import UserError, one_line
from mixit_jax.inference.estimates import Member, check_members, layout_of, results_of
from mixit_jax.inference.inputs import (
  STANDARD_INPUT,
  Item,
  find_inputs,
  spool_standard_input,
)
from mixit_jax.inference.listening import Pages, separation_page
from mixit_jax.inference.request import Request
from mixit_jax.inference.stem_files import result_file, write_results
from mixit_jax.page.document import check_page
from mixit_jax.page.overview import write_overview
from mixit_jax.page.song_page import is_page


class Report(Protocol):
  """Who is told what happens."""

  def say(self, text: str) -> None:
    """Take a line about a recording that is done."""

  def warn(self, text: str) -> None:
    """Take a line about what failed or needs attention."""

  def progress(
    self, name: str, seconds: float
  ) -> contextlib.AbstractContextManager[Callable[[float], object]]:
    """Begin a recording of a length; call the function with the seconds done."""


class Outcome(NamedTuple):
  """What became of the recordings.

  Attributes:
    folders: of recordings that were separated, or whose results were there.
    failures: one line for each input that gave no results.
  """

  folders: list[Path]
  failures: list[str]


def separate_files(
  members: Sequence[Member],
  inputs: Sequence[Path],
  out: Path,
  request: Request,
  report: Report,
  pages: Pages | None = None,
) -> Outcome:
  """Separate recordings into `<out>/<recording>/<result>.<format>`.

  While a recording is separated, the next one is decoded to see that it can be. What
  fails ends by itself: the others are separated.

  Args:
    members: the model, or several whose estimates are averaged.
    inputs: audio files, folders of them, or "-" for standard input.
    out: folder of the results.
    request: what is asked of each recording.
    report: told of each recording when it is done or fails.
    pages: listening pages to write beside the results.

  Raises:
    UserError: the request does not fit the model, or `out` is not writable.
  """
  check_members(members)
  names, shares = request.results(members[0].model.stems)
  check_writable(out)
  if pages is not None:
    check_page(out)
  items, failures = find_inputs(inputs, out)
  for problem in failures:
    report.warn(problem)
  folders: list[Path] = []
  with contextlib.ExitStack() as stack:
    spool = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    checked = stack.enter_context(
      closing(one_ahead(lambda item: _check(item, request, names, spool, pages), items))
    )
    for item, found in zip(items, checked, strict=True):
      try:
        if isinstance(found, Exception):
          raise found
        if found is None:
          report.warn(f"{item.folder}: kept as it is; --overwrite replaces it")
        else:
          _separate_one(found, item, members, names, shares, request, report, pages)
          report.say(str(item.folder))
        folders.append(item.folder)
      except (UserError, OSError, MemoryError) as error:
        failures.append(_named(item, error))
        report.warn(failures[-1])
  if pages is not None and (page := write_overview(out, f"Separated by {pages.model}")):
    report.say(f"listen: {page}")
  return Outcome(folders, failures)


def check_writable(folder: Path) -> None:
  """Raise a UserError unless files can be put into a folder; it is created."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise UserError(f"--out={folder} is not writable: {error.strerror}") from error


def _check(
  item: Item, request: Request, names: Sequence[str], spool: Path, pages: Pages | None
) -> Recording | Exception | None:
  """Return a recording that can be decoded, or why not, or None if it is done."""
  there = not _missing(item, request, names) and (pages is None or is_page(item.folder))
  if there and not request.overwrite:
    return None
  try:
    path = item.path
    if str(path) == STANDARD_INPUT:
      path = spool_standard_input(spool)
    return check_recording(path, item.name)
  except (UserError, OSError, MemoryError) as error:
    return error


def _missing(item: Item, request: Request, names: Sequence[str]) -> list[str]:
  """Return the results of a recording that are not there yet."""
  return [
    name for name in names if not result_file(item.folder, name, request).is_file()
  ]


def _separate_one(
  recording: Recording,
  item: Item,
  members: Sequence[Member],
  names: Sequence[str],
  shares: np.ndarray,
  request: Request,
  report: Report,
  pages: Pages | None,
) -> None:
  """Separate a recording and write what is asked for."""
  layout = layout_of(recording, members[0].model, request)
  wanted = names if request.overwrite else _missing(item, request, names)
  files = [name if name in wanted else None for name in names]
  seconds = layout.length / layout.sample_rate
  with contextlib.ExitStack() as stack:
    advance = stack.enter_context(report.progress(recording.name, seconds))
    page = None
    if pages is None:
      shares = shares[[name is not None for name in files]]
      files = [name for name in files if name is not None]
    else:
      # All results are heard, and the mixture.
      shares = np.concatenate([shares, np.eye(1, shares.shape[1], dtype=np.float32)])
      files.append(None)
      results = {name: result_file(item.folder, name, request) for name in names}
      page = stack.enter_context(
        separation_page(pages, recording, layout, item.folder, results)
      )
    peaks = write_results(
      results_of(recording, members, shares, request.shifts, layout),
      files,
      item.folder,
      request,
      layout,
      recording.tags,
      lambda samples: advance(samples / layout.sample_rate),
      page.add if page else None,
    )
  if line := peaks.report(str(request.peaks)):
    report.warn(f"{item.folder}: {line}")


def _named(item: Item, error: Exception) -> str:
  """Return an error in one line that names the recording."""
  text = one_line(error)
  if isinstance(error, OSError) and error.strerror:
    text = f"{error.filename or item.name}: {error.strerror}"
  names = (item.name, str(item.folder))
  return text if text.startswith(names) else f"{item.name}: {text}"
