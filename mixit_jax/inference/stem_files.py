"""The results of one recording as files, which appear together at the end."""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixit_jax.audio.writing import writing
from mixit_jax.data.ahead import one_ahead
from mixit_jax.errors import UserError
from mixit_jax.inference.estimates import Layout
from mixit_jax.inference.request import Request


class Peaks(NamedTuple):
  """What a recording's results have above full scale.

  Attributes:
    largest: the largest magnitude.
    above: samples above 1.
  """

  largest: float = 0.0
  above: int = 0

  def with_block(self, block: np.ndarray) -> "Peaks":
    """Return the same with one more block."""
    magnitudes = np.abs(block)
    # Not `max`, which may pass over NaN.
    largest = float(np.maximum(self.largest, magnitudes.max(initial=0.0)))
    return Peaks(largest, self.above + int(np.count_nonzero(magnitudes > 1)))

  def report(self, what: str) -> str:
    """Say in one line what was done, or nothing where nothing is above full scale."""
    if self.above == 0:
      return ""
    done = {
      "keep": "kept; players may clip them",
      "scale": f"avoided: all files were multiplied by {1 / self.largest:.4f}",
      "clip": "clipped",
    }[what]
    return (
      f"{self.above} samples above full scale, up to {self.largest:.2f}"
      f" ({20 * np.log10(self.largest):+.1f} dB), {done}"
    )


def result_file(folder: Path, name: str, request: Request) -> Path:
  """Return the file of a result."""
  return folder / f"{name}.{request.format}"


def write_results(
  blocks: Iterator[np.ndarray],
  names: Sequence[str | None],
  folder: Path,
  request: Request,
  layout: Layout,
  tags: Mapping[str, str],
  written: Callable[[int], object] = lambda _: None,
  heard: Callable[[np.ndarray], object] | None = None,
) -> Peaks:
  """Write the results of a recording.

  All files are opened before the first block is computed, so that what cannot be
  written is known at once; they appear together when the last block is written. Each
  block is written in another thread, while the next one is computed.

  Args:
    blocks: results [K, C, l] in order.
    names: of the K results; None for one that gets no file.
    folder: of the files.
    request: how they are stored.
    layout: sizes of the results.
    tags: of the recording, for all files.
    written: called with the samples of each block that is computed.
    heard: takes the blocks [K, C, l] as they are computed, in that other thread.

  Raises:
    UserError: a file cannot be written, or the results are not finite.
  """
  peaks = Peaks()
  rows = [row for row, name in enumerate(names) if name is not None]

  def measured() -> Iterator[np.ndarray]:
    nonlocal peaks
    for block in blocks:
      peaks = peaks.with_block(block[rows])
      if not np.isfinite(block).all():
        raise UserError("the model's estimates are not finite; nothing is written")
      written(block.shape[-1])
      yield block

  with contextlib.ExitStack() as stack:
    writers = [
      stack.enter_context(
        writing(
          result_file(folder, name, request),
          layout.sample_rate,
          layout.num_channels,
          layout.length,
          request.subtype,
          request.bitrate_at(layout.sample_rate),
          tags,
        )
      )
      for name in names
      if name is not None
    ]

    def write(block: np.ndarray) -> None:
      if heard is not None:
        heard(block)
      files = block[rows]
      if request.peaks == "clip":
        files = np.clip(files, -1, 1)
      for writer, audio in zip(writers, files, strict=True):
        writer.write(audio)

    if request.peaks == "scale":
      with _spooled(measured(), folder) as spooled:
        factor = np.float32(1 / max(1.0, peaks.largest))
        for block in spooled:
          write(block * factor)
    else:
      _run(one_ahead(write, measured()))
  return peaks


def _run(work: Generator[None, None, None]) -> None:
  """Do all work of a generator."""
  with contextlib.closing(work):
    for _ in work:
      pass


@contextlib.contextmanager
def _spooled(
  blocks: Iterator[np.ndarray], folder: Path
) -> Iterator[Iterator[np.ndarray]]:
  """Put blocks into a nameless file; yield what reads them again."""
  with tempfile.TemporaryFile(dir=folder) as file:
    shapes = []
    for block in blocks:
      shapes.append(block.shape)
      file.write(np.ascontiguousarray(block).data)
    file.seek(0)
    yield (
      np.frombuffer(file.read(4 * int(np.prod(shape))), np.float32).reshape(shape)
      for shape in shapes
    )
