"""Separating files into files."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mixit_jax.audio.files import find_audio, write_audio
from mixit_jax.errors import UserError
from mixit_jax.inference.model import Model


def separate_files(
  model: Model,
  recordings: Sequence[Path],
  out: Path,
  suffix: str = "wav",
  progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
  """Separates recordings into `<out>/<recording>/<stem>.<suffix>`.

  A file that cannot be read does not keep the others from being separated.

  Args:
    model: the separator.
    recordings: audio files, or folders of them.
    out: folder of the results.
    suffix: format of the results.
    progress: called with the folder of each result.

  Returns:
    The folders that were written.

  Raises:
    UserError: after all others are done, naming the files that could not be read.
  """
  files = [
    file
    for recording in recordings
    for file in (find_audio(recording) if recording.is_dir() else [recording])
  ]
  written: list[Path] = []
  failed: list[str] = []
  for file in files:
    try:
      stems = model.separate(file)
    except UserError as error:
      failed.append(str(error))
      continue
    folder = _free_name(out, file, written)
    for name, audio in stems.items():
      write_audio(folder / f"{name}.{suffix}", audio, model.sample_rate)
    written.append(folder)
    progress(str(folder))
  if failed:
    raise UserError(f"{len(failed)} of {len(files)} not separated: {'; '.join(failed)}")
  return written


def _free_name(out: Path, file: Path, taken: list[Path]) -> Path:
  """Folder named like the file; with its suffix where another file has that name."""
  folder = out / file.stem
  return out / file.name if folder in taken else folder
