"""Separation of audio files into a folder of stems each."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixit_jax.audio.files import find_audio, read_audio, write_audio
from mixit_jax.data.ahead import one_ahead
from mixit_jax.errors import UserError
from mixit_jax.inference.model import Model


class _Result(NamedTuple):
  """Estimates [N, C, L] and the folder they go to."""

  folder: Path
  estimates: np.ndarray


def separate_files(
  model: Model,
  recordings: Sequence[Path],
  out: Path,
  suffix: str = "wav",
  progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
  """Separate recordings into `<out>/<recording>/<stem>.<suffix>`.

  While a recording is separated, the next one is read and the stems of the previous one
  are written in other threads; at most one waits on either side. A file that cannot be
  read does not prevent the separation of the others.

  Args:
    model: the separator.
    recordings: audio files, or folders of them.
    out: folder of the results.
    suffix: format of the results.
    progress: called with the folder of each result.

  Returns:
    the folders that were written.

  Raises:
    UserError: some files cannot be read (raised when all others are done, and names
      them), or a file cannot be written (raised at once).
  """
  files = [
    file
    for recording in recordings
    for file in (find_audio(recording) if recording.is_dir() else [recording])
  ]
  failed: list[str] = []

  def read(file: Path) -> np.ndarray | UserError:
    try:
      return read_audio(file, model.sample_rate, model.config.num_channels)
    except UserError as error:
      return error

  def results() -> Generator[_Result, None, None]:
    taken: list[Path] = []
    with closing(one_ahead(read, files)) as mixtures:
      for file, mixture in zip(files, mixtures, strict=True):
        if isinstance(mixture, UserError):
          failed.append(str(mixture))
          continue
        taken.append(_free_name(out, file, taken))
        yield _Result(taken[-1], model.separate_mixture(mixture))

  def write(result: _Result) -> Path:
    for name, audio in zip(model.stems, result.estimates, strict=True):
      write_audio(result.folder / f"{name}.{suffix}", audio, model.sample_rate)
    return result.folder

  written: list[Path] = []
  with closing(results()) as separated, closing(one_ahead(write, separated)) as folders:
    for folder in folders:
      written.append(folder)
      progress(str(folder))
  if failed:
    raise UserError(f"{len(failed)} of {len(files)} not separated: {'; '.join(failed)}")
  return written


def _free_name(out: Path, file: Path, taken: list[Path]) -> Path:
  """Return a folder named like the file, with its suffix if that name is taken."""
  folder = out / file.stem
  return out / file.name if folder in taken else folder
