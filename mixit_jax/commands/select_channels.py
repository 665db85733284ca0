"""`mixit-jax select-channels`: which outputs of a pre-trained model are the stems."""

import argparse
from itertools import chain
from pathlib import Path

from mixit_jax.commands.options import (
  Commands,
  add_command,
  add_model_argument,
  add_page_option,
  add_precision_option,
  add_quiet_option,
  stems_of,
)
from mixit_jax.commands.reports import end_with, log
from mixit_jax.errors import UserError, one_line


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "select-channels",
    run,
    short="see which outputs of a pre-trained model are the stems",
    text="""\
See which outputs of a pre-trained model are the stems, by votes of song chunks.""",
    usage="RUN --songs=DIR [OPTION...]",
    example="mixit-jax select-channels runs/pretrain --songs=data/musdb/valid",
  )
  add_model_argument(parser)
  add = parser.add_argument
  add("--songs", type=Path, required=True, metavar="DIR", help="validation songs")
  add("--stems", metavar="A,B", help="names of the stems [those that most songs have]")
  add(
    "--seconds", type=float, default=6.0, metavar="S", help="length of the chunks [6]"
  )
  add_precision_option(parser)
  add("--json", type=Path, metavar="FILE", help="result [RUN/channel_selection.json]")
  add_page_option(parser)
  add_quiet_option(parser)


def run(options: argparse.Namespace) -> None:
  """Select, and write what was selected."""
  from mixit_jax.data.songs import song_folders
  from mixit_jax.evaluation.channels import SELECTION_FILE, vote_channels, write_choice
  from mixit_jax.evaluation.selection import separated_songs
  from mixit_jax.evaluation.tables import selection_table
  from mixit_jax.files import check_file_writable
  from mixit_jax.inference.model import load
  from mixit_jax.inference.report import TerminalReport

  if not 0 < options.seconds <= 60:
    raise UserError(f"--seconds={options.seconds:g}: expected more than 0, at most 60")
  stems = stems_of(options)
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
    log(f"left out: {failures[folder]}")

  report = TerminalReport(options.quiet)
  separated = separated_songs(
    model.separate_chunks,
    model.config,
    songs,
    stems,
    options.seconds,
    batch=model.chunk_batch(round(options.seconds * model.sample_rate)),
    progress=report.note,
    left_out=left_out,
  )
  selection = vote_channels(chain.from_iterable(separated), stems)
  print(selection_table(selection.to_dict()), flush=True)
  file = options.json or options.model / SELECTION_FILE
  write_choice(file, selection, model.card)
  if options.page:
    from mixit_jax.inference.listening import write_selection_pages

    heard = [song for song in songs if song not in failures]
    name = options.model.resolve().name
    write_selection_pages(model, heard, selection.to_dict(), options.page, name, report)
    report.note(f"listen: {options.page / 'index.html'}")
  end_with(list(failures.values()), len(songs), "songs could not be read")
