"""Songs to scores: several at a time, each in bounded memory, each for itself."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mixit_jax.audio.streams import in_step
from mixit_jax.data.ahead import ahead
from mixit_jax.data.song_streams import StreamedSong
from mixit_jax.errors import UserError, one_line
from mixit_jax.evaluation.listening import score_captions, scored_page
from mixit_jax.evaluation.results import Evaluation, SongResult
from mixit_jax.evaluation.scores import StreamedScores
from mixit_jax.evaluation.song_checks import SongChecks
from mixit_jax.page.song_page import SongPage, is_page


class Report(Protocol):
  """Who is told what happens."""

  def note(self, text: str) -> None:
    """Take a line about what goes on."""

  def warn(self, text: str) -> None:
    """Take a line about what failed or needs attention."""

  def progress(
    self, name: str, seconds: float
  ) -> contextlib.AbstractContextManager[Callable[[float], object]]:
    """Begin work of a length; call the function with what is done."""


class Quiet:
  """A report that nobody reads."""

  def note(self, text: str) -> None:
    """Take a line about what goes on."""

  def warn(self, text: str) -> None:
    """Take a line about what failed or needs attention."""

  @contextlib.contextmanager
  def progress(self, name: str, seconds: float) -> Iterator[Callable[[float], object]]:
    """Begin work of a length."""
    yield lambda _: None


class Plan(NamedTuple):
  """What is evaluated, and how.

  Attributes:
    stems: names of the stems.
    folders: of the songs.
    opened: opens a song with its estimates [N, C, l] in blocks.
    files: describes the files of a song, see `fingerprint`.
    settings: what decides over the scores, for the document.
    jobs: songs at a time.
    pages: folder of listening pages, `pages/<song>/index.html`; None for no pages.
  """

  stems: tuple[str, ...]
  folders: Sequence[Path]
  opened: Callable[[Path], tuple[StreamedSong, Generator[np.ndarray, None, None]]]
  files: Callable[[Path], str]
  settings: Mapping[str, Any]
  jobs: int = 1
  pages: Path | None = None


class _StopError(Exception):
  """The evaluation ends; the song is not finished."""


def score_songs(
  plan: Plan,
  earlier: Mapping[str, SongResult],
  report: Report,
  written: Callable[[Evaluation], None] = lambda _: None,
) -> Evaluation:
  """Score songs; what fails ends by itself.

  The files of one more song than are scored at a time are opened ahead.

  Args:
    plan: what is evaluated.
    earlier: results that count as they are, if the files are still the same.
    report: told of each song.
    written: called with the results so far after each song.

  Raises:
    UserError: no song can be scored.
  """
  begun = time.perf_counter()
  results: dict[str, SongResult] = {}
  failed: dict[str, str] = {}
  names = [folder.name for folder in plan.folders]
  waiting = []
  for folder in plan.folders:
    known = earlier.get(folder.name)
    listed = plan.pages is None or is_page(plan.pages / folder.name)
    if known and listed and known.files and known.files == _files(plan, folder):
      results[folder.name] = known
    else:
      waiting.append(folder)
  if results:
    report.note(f"{len(results)} of {len(names)} songs were scored before")

  def now() -> Evaluation:
    return Evaluation(
      plan.stems,
      tuple(results[name] for name in names if name in results),
      {name: failed[name] for name in names if name in failed},
      tuple(name for name in names if name not in results and name not in failed),
      plan.settings,
      time.perf_counter() - begun,
    )

  for folder, result in _each(plan, waiting, report):
    if isinstance(result, SongResult):
      results[folder.name] = result
      report.note(
        f"{folder.name}: {_mean_usdr(result)} ({len(results)} of {len(names)})"
      )
      for warning in result.warnings:
        report.warn(f"{folder.name}: {warning}")
    else:
      failed[folder.name] = one_line(result)
      report.warn(f"{folder.name}: not scored: {failed[folder.name]}")
    written(now())
  if not results:
    # Every reason was told when it was found.
    only = f": {next(iter(failed.values()))}" if len(names) == 1 else ""
    raise UserError(f"none of {len(names)} songs can be scored{only}")
  return now()


def score_song(
  song: StreamedSong,
  estimates: Generator[np.ndarray, None, None],
  stems: Sequence[str],
  advance: Callable[[int], object] = lambda _: None,
  pages: Path | None = None,
) -> SongResult:
  """Score one song.

  Args:
    song: references and mixture.
    estimates: of the stems [N, C, l], in order.
    stems: names of the stems.
    advance: called with the samples of each block.
    pages: folder of listening pages.

  Raises:
    UserError: the estimates are not finite, or the page cannot be written.
    AudioError: a file has changed meanwhile.
  """
  scores = StreamedScores(song.sample_rate)
  unprocessed = StreamedScores(song.sample_rate)
  checks = SongChecks(stems, song.sample_rate)
  with contextlib.ExitStack() as stack:
    page: SongPage | None = None
    if pages is not None:
      page = stack.enter_context(scored_page(pages, song, stems))
    streams = [
      stack.enter_context(contextlib.closing(stream))
      for stream in (
        estimates,
        ahead(song.reference_blocks()),
        ahead(song.mixture_blocks()),
      )
    ]
    for estimate, references, mixture in in_step(streams):
      scores.add(references, estimate)
      unprocessed.add(references, np.broadcast_to(mixture, references.shape))
      checks.add(references, mixture)
      if page is not None:
        page.add(np.concatenate([mixture[None], estimate, references]))
      advance(estimate.shape[-1])
    result = SongResult(
      song.name,
      scores.scores(),
      unprocessed.scores(),
      song.seconds,
      tuple(checks.warnings()),
    )
    if page is not None and pages is not None:
      page.captions = score_captions(result, stems, pages)
  return result


def _each(
  plan: Plan, folders: Sequence[Path], report: Report
) -> Iterator[tuple[Path, SongResult | Exception]]:
  """Yield each song with its result, or why there is none, as they come."""
  stop = threading.Event()
  places = threading.Semaphore(plan.jobs)
  updating = threading.Lock()

  with (
    report.progress(f"{len(folders)} songs", len(folders)) as advance,
    ThreadPoolExecutor(plan.jobs + 1, "songs") as threads,
  ):

    def share_done(share: float) -> None:
      if stop.is_set():
        raise _StopError
      with updating:
        advance(share)

    def work(folder: Path) -> SongResult:
      done = 0.0

      def more(share: float) -> None:
        nonlocal done
        done += share
        share_done(share)

      try:
        files = plan.files(folder)
        song, estimates = plan.opened(folder)
        with places:
          result = score_song(
            song,
            estimates,
            plan.stems,
            lambda samples: more(samples / song.length),
            plan.pages,
          )
        return dataclasses.replace(result, files=files)
      finally:
        if not stop.is_set():
          share_done(1 - done)

    running: dict[Future[SongResult], Path] = {}
    try:
      running = {threads.submit(work, folder): folder for folder in folders}
      for future in as_completed(running):
        error = future.exception()
        if error is not None and not isinstance(
          error, UserError | OSError | MemoryError
        ):
          raise error
        yield running[future], error or future.result()
    finally:
      stop.set()
      for future in running:
        future.cancel()


def _mean_usdr(result: SongResult) -> str:
  found = result.estimates["usdr_mdx"]
  there = found[~np.isnan(found)]
  return f"{there.mean():.2f} dB uSDR" if len(there) else "silent"


def _files(plan: Plan, folder: Path) -> str:
  """Describe the files of a song; none where that fails, so that it is scored again."""
  try:
    return plan.files(folder)
  except (UserError, OSError):
    return ""
