"""What a run reports: JSONL and TensorBoard files, a progress bar or plain lines.

Only process 0 writes. A failing disk is reported once and never stops the training,
nor does a terminal that was closed.
A run that goes on at a step drops what it reported after that step before it died: no
step is reported twice.
"""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mixit_jax.evaluation.plots import mel_spectrogram
from mixit_jax.files import nan_to_null, replacing
from mixit_jax.training.board import Board
from mixit_jax.training.config import Config

METRICS_FILE = "metrics.jsonl"


class Telemetry:
  """Writer of metrics, audio and images of a run."""

  def __init__(
    self,
    workdir: Path,
    config: Config,
    first_step: int,
    validated: bool = True,
    enabled: bool = True,
  ):
    """Open the files below `workdir`; do nothing at all when not enabled.

    Args:
      workdir: the run's directory.
      config: of the run.
      first_step: steps taken so far.
      validated: whether the validation of the last of these, if any, is complete.
      enabled: whether this process reports.
    """
    self._enabled = enabled
    self._model = config.model
    self._failed = False
    self._file: Any = None
    self._board: Board | None = None
    self._bar: tqdm | None = None
    if not enabled:
      return
    self._guarded(lambda: self._open(Path(workdir), first_step, validated))
    if sys.stderr.isatty():
      steps = config.run.steps
      self._bar = tqdm(total=steps, initial=first_step, unit="step", dynamic_ncols=True)

  def __enter__(self) -> "Telemetry":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _open(self, workdir: Path, first_step: int, validated: bool) -> None:
    _drop_repeated(workdir / METRICS_FILE, first_step, validated)
    self._file = (workdir / METRICS_FILE).open("a")
    self._board = Board(workdir / "tensorboard", first_step + validated)

  def scalars(
    self, group: str, step: int, values: Mapping[str, Any], note: str = ""
  ) -> None:
    """Log values of a step: numbers, or vectors with one number per output.

    What is reported of a validation is on the disk before this returns.

    Args:
      group: "train" or "valid".
      step: steps taken so far.
      values: name to float or array [N].
      note: what else to show to those who watch.
    """
    if not self._enabled:
      return
    plain = {name: np.asarray(value).tolist() for name, value in values.items()}
    head = {"group": group, "step": step, "time": time.time()}
    line = json.dumps(nan_to_null(head | plain))
    self._guarded(lambda: self._write_line(line))
    self._guarded(lambda: self._write_board(group, step, plain))
    with contextlib.suppress(OSError, ValueError):  # nobody watches any more
      self._show(group, step, plain, note)

  def media(self, name: str, step: int, audio: np.ndarray) -> None:
    """Log audio [C, L] and its spectrogram.

    TensorBoard clips audio at 1, so it is scaled down where it is louder.
    """
    board, model = self._board, self._model
    if board is None:
      return
    peak = float(np.max(np.abs(audio), initial=1.0))
    self._guarded(lambda: board.audio(name, step, audio / peak, model.sample_rate))
    self._guarded(lambda: board.image(name, step, self._draw(audio)))

  def advance(self, step: int) -> None:
    """Move the progress bar."""
    if self._bar is not None:
      with contextlib.suppress(OSError, ValueError):
        self._bar.update(step - self._bar.n)

  def close(self) -> None:
    """Close all files."""
    for resource in (self._bar, self._board, self._file):
      if resource is not None:
        self._guarded(resource.close)

  def _draw(self, audio: np.ndarray) -> np.ndarray:
    model = self._model
    return mel_spectrogram(audio, model.sample_rate, model.n_fft, model.hop)[None]

  def _write_line(self, line: str) -> None:
    if self._file is not None:
      self._file.write(line + "\n")
      self._file.flush()

  def _write_board(self, group: str, step: int, values: Mapping[str, Any]) -> None:
    if self._board is None:
      return
    for name, value in values.items():
      if isinstance(value, list):
        for i, item in enumerate(value):
          self._board.scalar(f"{group}/{name}/{i:02d}", step, item)
      else:
        self._board.scalar(f"{group}/{name}", step, value)
    if group == "valid":
      self._board.flush()

  def _show(self, group: str, step: int, values: Mapping[str, Any], note: str) -> None:
    shown = {k: f"{v:.4g}" for k, v in values.items() if not isinstance(v, list)}
    if self._bar is not None and group == "train":
      said = ", ".join(filter(None, (f"loss {shown.get('loss')}", note)))
      self._bar.set_postfix_str(said, refresh=False)
      return
    said = ", ".join([f"{k} {v}" for k, v in shown.items()] + [note] * bool(note))
    text = f"{group} step {step}: {said}"
    if self._bar is not None:
      self._bar.write(text, file=sys.stderr)
    else:
      print(text, file=sys.stderr, flush=True)

  def _guarded(self, write: Callable[[], Any]) -> None:
    try:
      write()
    except Exception as error:  # whatever it is, it is no reason to stop training
      if not self._failed:
        logging.warning("metrics cannot be written (%s); training goes on", error)
      self._failed = True


def has_validation(workdir: Path, step: int) -> bool:
  """Tell whether the validation after a step is among the metrics of a run."""
  file = workdir / METRICS_FILE
  if not file.exists():
    return False
  reports = map(_read, file.read_text(errors="replace").splitlines())
  return ("valid", step) in reports


def _read(line: str) -> tuple[str, int] | None:
  """Return group and step of a line, or nothing if it is torn."""
  try:
    report = json.loads(line)
    return report["group"], report["step"]
  except (ValueError, KeyError, TypeError):
    return None


def _drop_repeated(file: Path, first_step: int, validated: bool) -> None:
  """Drop lines of what will be repeated, and the line that a kill has torn."""
  if not file.exists():
    return

  def stays(line: str) -> bool:
    report = _read(line)
    if report is None:
      return False
    group, step = report
    repeated = group == "valid" and not validated
    return step < first_step or (step == first_step and not repeated)

  before = file.read_text(errors="replace")
  after = "".join(f"{line}\n" for line in before.splitlines() if stays(line))
  if after != before:
    with replacing(file) as temporary:
      temporary.write_text(after)
