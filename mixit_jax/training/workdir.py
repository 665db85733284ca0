"""A run's working directory: the configuration it belongs to.

`config.json` holds the resolved configuration. A run never starts in a directory of
another configuration; keys that cannot change the result, or only its length, may
differ at any time, others must be named in `run.allow_changes`.
"""

import json
import os
from pathlib import Path
from typing import Any

from mixit_jax.errors import UserError
from mixit_jax.training.config import Config
from mixit_jax.training.values import ConfigError, differences, flatten
from mixit_jax.version import __version__

CONFIG_FILE = "config.json"
FORMAT = "mixit_jax run"

# Keys that change where, how fast or how long a run works, not what it computes.
FREE_KEYS = frozenset(
  {
    "data.shards",
    "data.songs",
    "data.threads",
    "data.buffer",
    "mesh.fsdp",
    "mesh.distributed",
    "model.remat",
    "model.scan_blocks",
    "model.attention",
    "run.steps",
    "run.accumulation",
    "run.log_every",
    "run.save_every",
    "run.keep_latest",
    "run.keep_best",
    "run.max_skips",
    "run.watchdog_seconds",
    "run.profile",
    "run.allow_changes",
    "valid.scores_every_epochs",
    "valid.media",
  }
)


class WorkdirError(UserError):
  """A working directory that cannot be used."""


def write_json(path: Path, value: Any) -> None:
  """Writes a JSON document atomically.

  Raises:
    WorkdirError: the disk is full, or nothing may be written there.
  """
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      temporary.write_text(json.dumps(value, indent=2) + "\n")
      temporary.replace(path)
    finally:
      temporary.unlink(missing_ok=True)
  except OSError as error:
    raise WorkdirError(f"{path} cannot be written: {error.strerror}") from error


def read_json(path: Path) -> Any:
  """Reads a JSON document.

  Raises:
    WorkdirError: the file is missing or no JSON.
  """
  try:
    return json.loads(path.read_text())
  except OSError as error:
    raise WorkdirError(f"{path} cannot be read: {error.strerror}") from error
  except ValueError as error:
    raise WorkdirError(f"{path} is not valid JSON ({error})") from error


def claim_workdir(workdir: Path, config: Config, write: bool = True) -> None:
  """Makes sure that the directory belongs to this configuration.

  Args:
    workdir: the run's directory; created where it is missing.
    config: the configuration that is about to run.
    write: whether this process writes the file (one of all hosts does).

  Raises:
    WorkdirError: the directory holds something else, or a run of another
      configuration; the differing keys are shown.
  """
  file = Path(workdir) / CONFIG_FILE
  if file.exists():
    check_unchanged(stored_config(workdir), config, file)
  elif Path(workdir).exists() and not Path(workdir).is_dir():
    raise WorkdirError(f"--workdir={workdir} is a file; name a folder")
  elif Path(workdir).is_dir() and any(Path(workdir).glob("checkpoints/*")):
    raise WorkdirError(
      f"{workdir} holds checkpoints but no {CONFIG_FILE}; name another --workdir"
    )
  if write:
    write_json(
      file, {"format": FORMAT, "version": __version__, "config": config.to_dict()}
    )


def stored_config(run: Path) -> Config:
  """Configuration of an existing run.

  Raises:
    WorkdirError: the folder is no run.
  """
  file = Path(run) / CONFIG_FILE
  if not file.is_file():
    raise WorkdirError(f"{run} is no run: it has no {CONFIG_FILE}")
  document = read_json(file)
  if not isinstance(document, dict) or document.get("format") != FORMAT:
    raise WorkdirError(f"{file} does not describe a run of mixit_jax")
  try:
    return Config.from_dict(document["config"])
  except UserError as error:
    raise WorkdirError(
      f"{file} was written by version {document.get('version')} and cannot be used "
      f"by version {__version__}: {error}"
    ) from error


def check_unchanged(old: Config, new: Config, where: Path) -> None:
  """Raises WorkdirError, showing the difference, when a guarded key has changed."""
  allowed = FREE_KEYS | set(new.run.allow_changes)
  known = dict(flatten(new.to_dict()))
  for key in new.run.allow_changes:
    if key not in known:
      raise ConfigError(f"run.allow_changes names {key}, which is no configuration key")
  changed = {
    key: values
    for key, values in differences(old.to_dict(), new.to_dict()).items()
    if key not in allowed
  }
  if changed:
    shown = "; ".join(f"{key}: {a!r} -> {b!r}" for key, (a, b) in changed.items())
    raise WorkdirError(
      f"{where} is of another configuration ({shown}); use another --workdir, or name "
      "the keys in --config.run.allow_changes"
    )
