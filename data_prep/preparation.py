"""Preparations that can stop at any moment and resume later.

`preparation.json` in the output folder holds the command and the settings that make
the folder; nothing made otherwise is ever mixed in. Finished parts, such as a shard
with its report, are not made again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from data_prep import engine
from mixit_jax.errors import UserError
from mixit_jax.files import read_json, write_json
from mixit_jax.lock import FolderLock

SETTINGS_NAME = "preparation.json"
_SHOWN_DIFFERENCES = 4


class Job(Protocol):
  """A part of a preparation, such as a shard; it can be pickled."""

  def is_finished(self) -> bool:
    """Tell whether an earlier run has completed the job."""

  def run(self) -> None:
    """Do the job, and leave nothing unfinished under its final name."""


def run_jobs(
  out: Path, jobs: Sequence[Job], workers: int, label: str, max_crashes: int
) -> int:
  """Run the jobs that are not finished yet; see `engine.run`.

  Args:
    out: folder that they write; this process owns it meanwhile.
    jobs: parts of the preparation.
    workers: number of processes.
    label: what is being done, for the progress bar.
    max_crashes: how often a worker may die while it holds a job.

  Returns:
    how many were already finished.

  Raises:
    LockError: another process prepares this folder.
  """
  pending = [job for job in jobs if not job.is_finished()]
  if pending:
    with FolderLock(out):
      engine.run(_run_job, pending, workers, label, max_crashes)
  return len(jobs) - len(pending)


def _run_job(job: Job) -> None:
  job.run()


def claim_folder(out: Path, command: str, settings: dict[str, Any]) -> None:
  """Create the output folder, or check that it was started in the same way.

  Args:
    out: output folder.
    command: name of the command that makes it.
    settings: all that determines its content, as JSON values.

  Raises:
    UserError: the folder holds something else, or was made by another command or
      with other settings.
  """
  path = out / SETTINGS_NAME
  wanted = {"command": command, **settings}
  if path.exists():
    _compare(path, wanted)
    return
  if out.exists() and not out.is_dir():
    raise UserError(f"{out}: expected a folder for the result, found a file")
  if out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
    raise UserError(
      f"{out}: is not empty and was not made by {command}; give a new folder (--out)"
    )
  write_json(path, wanted)


def _compare(path: Path, wanted: dict[str, Any]) -> None:
  """Raise a UserError unless the stored settings are those wanted."""
  stored = read_json(path, remedy="delete it")
  if stored == json.loads(json.dumps(wanted)):
    return
  if "layout" in wanted and stored.get("layout") != wanted["layout"]:
    raise UserError(
      f"{path.parent}: was prepared by another version of mixit_jax: it serves for"
      " training, but cannot be continued; name another folder (--out)"
    )
  differences = [
    f"{key} is {stored.get(key)!r} there, {wanted.get(key)!r} now"
    for key in {**stored, **wanted}
    if stored.get(key) != wanted.get(key)
  ]
  more = len(differences) - _SHOWN_DIFFERENCES
  raise UserError(
    f"{path.parent}: was started in another way: "
    + "; ".join(differences[:_SHOWN_DIFFERENCES])
    + (f"; and {more} more" if more > 0 else "")
    + ". Use the same settings, or another folder (--out)"
  )


def fingerprint(names: Iterable[str]) -> str:
  """Return a short hash over names in their order."""
  digest = hashlib.sha256()
  for name in names:
    digest.update(os.fsencode(name) + b"\0")
  return digest.hexdigest()[:16]
