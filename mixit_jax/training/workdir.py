"""A run's working directory: who owns it, and the configuration it belongs to.

A run never starts in a directory of another configuration. Its own stands in its latest
checkpoint; before there is one, in `config.json`, which holds what the run was last
started with. Keys that cannot change the result, or only its length, may differ at any
time (`free` in `config`), others must be named in `run.allow_changes`.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from mixit_jax.checked import differences
from mixit_jax.errors import ConfigError, UserError
from mixit_jax.files import write_json
from mixit_jax.lock import FolderLock
from mixit_jax.training.config import Config, all_rules
from mixit_jax.version import __version__
from mixit_jax.weights.runs import (
  CHECKPOINTS,
  CONFIG_FILE,
  RUN_FORMAT,
  NoRunError,
  RunError,
  read_document,
  unusable,
)

# Former words for values, by key: they are read from older runs.
_FORMER_VALUES = {("init", "freeze"): {"separator": "blocks"}}


@contextlib.contextmanager
def owned(workdir: Path) -> Iterator[FolderLock | None]:
  """Own the folder: this process alone, or in a cluster process 0 for all of them.

  Yields:
    the lock where this process holds it.

  Raises:
    UserError: another process owns the folder, or it is a file.
    OSError: the folder is not writable.
  """
  problem: Exception | None = None
  with contextlib.ExitStack() as opened:
    lock = None
    if jax.process_index() == 0:
      try:
        if workdir.exists() and not workdir.is_dir():
          raise RunError(f"--workdir={workdir} is a file; name a folder")
        lock = opened.enter_context(FolderLock(workdir))
      except (UserError, OSError) as error:
        problem = error
    if jax.process_count() > 1:
      failed = multihost_utils.broadcast_one_to_all(np.int32(problem is not None))
      if failed and problem is None:
        problem = RunError(f"process 0 cannot have {workdir}; see what it says")
    if problem is not None:
      raise problem
    yield lock


def check_workdir(workdir: Path, config: Config) -> None:
  """Make sure that the folder belongs to this configuration; nothing is changed.

  Raises:
    RunError: the folder holds something else, or a run of another configuration; the
      differing keys are shown.
  """
  workdir = Path(workdir)
  if workdir.exists() and not workdir.is_dir():
    raise RunError(f"--workdir={workdir} is a file; name a folder")
  try:
    old = stored_config(workdir)
  except NoRunError as error:
    if any(workdir.glob(f"{CHECKPOINTS}/*")):
      raise RunError(
        f"{workdir} holds checkpoints but no {CONFIG_FILE}; name another --workdir"
      ) from error
    return
  _check_unchanged(old, config, workdir)


def claim_workdir(workdir: Path, config: Config) -> None:
  """Store the configuration, where `check_workdir` finds nothing wrong.

  Args:
    workdir: the run's folder; created where it is missing.
    config: the configuration that is about to run.

  Raises:
    UserError: see `check_workdir`, or the file cannot be written.
  """
  check_workdir(workdir, config)
  document = {"format": RUN_FORMAT, "version": __version__}
  write_json(Path(workdir) / CONFIG_FILE, {**document, "config": config.to_dict()})


def stored_config(run: Path) -> Config:
  """Read the configuration of an existing run.

  Raises:
    RunError: the folder is not a run.
  """
  document = read_document(run)
  values = document["config"]
  if values.get("objective", {}).get("kind", "mixit") == "mixit":
    # Where nobody asked for them: versions before this one noted MUSDB18's.
    values.get("data", {}).pop("stems", None)
  for (section, key), words in _FORMER_VALUES.items():
    keys = values.get(section, {})
    if keys.get(key) in words:
      keys[key] = words[keys[key]]
  try:
    return Config.from_dict(values)
  except UserError as error:
    raise unusable(run, document, error) from error


def _check_unchanged(old: Config, new: Config, where: Path) -> None:
  """Raise a RunError, showing the difference, when a guarded key has changed."""
  rules = dict(all_rules())
  for key in new.run.allow_changes:
    if key not in rules:
      raise ConfigError(
        f"run.allow_changes names {key}, which is not a configuration key"
      )
  changed = {
    key: values
    for key, values in differences(old.to_dict(), new.to_dict()).items()
    if not rules[key].free and key not in new.run.allow_changes
  }
  if changed:
    shown = "; ".join(f"{key}: {a!r} -> {b!r}" for key, (a, b) in changed.items())
    raise RunError(
      f"{where} is of another configuration ({shown}); use another --workdir, or name "
      "the keys in --config.run.allow_changes"
    )
