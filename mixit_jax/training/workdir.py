"""A run's working directory: the configuration it belongs to.

`config.json` holds the resolved configuration. A run never starts in a directory of
another configuration. Keys that cannot change the result, or only its length, may
differ at any time (`free` in `config`), others must be named in `run.allow_changes`.
"""

from pathlib import Path

from mixit_jax.checked import differences
from mixit_jax.errors import ConfigError, UserError
from mixit_jax.files import write_json
from mixit_jax.training.config import Config, all_rules
from mixit_jax.version import __version__
from mixit_jax.weights.runs import (
  CHECKPOINTS,
  CONFIG_FILE,
  RUN_FORMAT,
  RunError,
  read_document,
  unusable,
)

# Former words for values, by key: they are read from older runs.
_FORMER_VALUES = {("init", "freeze"): {"separator": "blocks"}}


def claim_workdir(workdir: Path, config: Config, write: bool = True) -> None:
  """Make sure that the directory belongs to this configuration.

  Args:
    workdir: the run's directory; created where it is missing.
    config: the configuration that is about to run.
    write: whether this process writes the file (one of all hosts does).

  Raises:
    RunError: the directory holds something else, or a run of another configuration;
      the differing keys are shown.
  """
  workdir = Path(workdir)
  file = workdir / CONFIG_FILE
  if file.exists():
    _check_unchanged(stored_config(workdir), config, file)
  elif workdir.exists() and not workdir.is_dir():
    raise RunError(f"--workdir={workdir} is a file; name a folder")
  elif any(workdir.glob(f"{CHECKPOINTS}/*")):
    raise RunError(
      f"{workdir} holds checkpoints but no {CONFIG_FILE}; name another --workdir"
    )
  if write:
    document = {"format": RUN_FORMAT, "version": __version__}
    write_json(file, {**document, "config": config.to_dict()})


def stored_config(run: Path) -> Config:
  """Read the configuration of an existing run.

  Raises:
    RunError: the folder is not a run.
  """
  document = read_document(run)
  values = document["config"]
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
