"""What a run reports: JSONL and TensorBoard files, a progress bar or plain lines.

Only process 0 writes. A failing disk is reported once and never stops the training.
A run that goes on at a step drops what it reported after that step before it died: no
step is reported twice.
"""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

METRICS_FILE = "metrics.jsonl"


class Telemetry:
  """Writer of metrics, audio and images of a run."""

  def __init__(
    self,
    workdir: Path,
    steps: int,
    first_step: int,
    validated: bool = True,
    enabled: bool = True,
  ):
    """Opens the files below `workdir`; does nothing at all when not enabled.

    Args:
      workdir: the run's directory.
      steps: steps of the whole run.
      first_step: steps taken so far.
      validated: whether the validation of the last of these, if any, is complete.
      enabled: whether this process reports.
    """
    self._enabled = enabled
    self._failed = False
    self._file: Any = None
    self._board: SummaryWriter | None = None
    self._bar: tqdm | None = None
    if not enabled:
      return
    self._guarded(lambda: self._open(Path(workdir), first_step, validated))
    if sys.stderr.isatty():
      self._bar = tqdm(total=steps, initial=first_step, unit="step", dynamic_ncols=True)

  def _open(self, workdir: Path, first_step: int, validated: bool) -> None:
    _drop_repeated(workdir / METRICS_FILE, first_step, validated)
    self._file = (workdir / METRICS_FILE).open("a")
    # TensorBoard hides what earlier files hold from this step on.
    self._board = SummaryWriter(
      str(workdir / "tensorboard"), purge_step=first_step + validated
    )

  def scalars(self, group: str, step: int, values: Mapping[str, Any]) -> None:
    """Logs values of a step: numbers, or vectors with one number per output.

    Args:
      group: "train" or "valid".
      step: steps taken so far.
      values: name to float or array [N].
    """
    if not self._enabled:
      return
    plain = {name: np.asarray(value).tolist() for name, value in values.items()}
    head = {"group": group, "step": step, "time": time.time()}
    line = json.dumps(head | _finite(plain))
    self._guarded(lambda: self._write_line(line))
    self._guarded(lambda: self._write_board(group, step, plain))
    self._show(group, step, plain)

  def audio(self, name: str, step: int, audio: np.ndarray, sample_rate: int) -> None:
    """Logs audio [C, L]; TensorBoard clips it at 1, so it is scaled down if louder."""
    peak = float(np.max(np.abs(audio), initial=1.0))
    self._media(lambda b: b.add_audio(name, (audio / peak).T, step, sample_rate))

  def image(self, name: str, step: int, image: np.ndarray) -> None:
    """Logs a grayscale image [H, W] with values in [0, 1]."""
    self._media(lambda b: b.add_image(name, image[None].astype(np.float32), step))

  def advance(self, step: int) -> None:
    """Moves the progress bar."""
    if self._bar is not None:
      self._bar.update(step - self._bar.n)

  def close(self) -> None:
    """Closes all files."""
    for resource in (self._bar, self._board, self._file):
      if resource is not None:
        self._guarded(resource.close)

  def _media(self, write: Callable[[SummaryWriter], Any]) -> None:
    board = self._board
    if board is not None:
      self._guarded(lambda: write(board))

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
          self._board.add_scalar(f"{group}/{name}/{i:02d}", item, step)
      else:
        self._board.add_scalar(f"{group}/{name}", value, step)

  def _show(self, group: str, step: int, values: Mapping[str, Any]) -> None:
    shown = {k: f"{v:.4g}" for k, v in values.items() if not isinstance(v, list)}
    if self._bar is not None and group == "train":
      self._bar.set_postfix_str(f"loss {shown.get('loss')}", refresh=False)
      return
    text = f"{group} step {step}: " + ", ".join(f"{k} {v}" for k, v in shown.items())
    if self._bar is not None:
      self._bar.write(text, file=sys.stderr)
    else:
      print(text, file=sys.stderr, flush=True)

  def _guarded(self, write: Callable[[], Any]) -> None:
    try:
      write()
    except (OSError, ValueError) as error:
      # ValueError: a file that an earlier error has closed.
      if not self._failed:
        logging.warning("metrics cannot be written (%s); training goes on", error)
      self._failed = True


def _drop_repeated(file: Path, first_step: int, validated: bool) -> None:
  """Drops lines of what will be repeated, and the line that a kill has torn."""
  if not file.exists():
    return

  def stays(line: str) -> bool:
    try:
      report = json.loads(line)
      step, group = report["step"], report["group"]
    except (ValueError, KeyError, TypeError):
      return False
    repeated = group == "valid" and not validated
    return step < first_step or (step == first_step and not repeated)

  before = file.read_text(errors="replace")
  after = "".join(f"{line}\n" for line in before.splitlines() if stays(line))
  if after != before:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(after)
    temporary.replace(file)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
  """JSON knows no NaN and infinity: null stands for them."""

  def convert(value: Any) -> Any:
    if isinstance(value, list):
      return [convert(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

  return {name: convert(value) for name, value in values.items()}
