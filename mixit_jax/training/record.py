"""What a run records of itself in its checkpoints, while it trains."""

import datetime
import platform
import socket
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

import mixit_jax
from mixit_jax.checked import differences
from mixit_jax.data.manifest import Manifest
from mixit_jax.training.config import Config
from mixit_jax.training.dataset import load_manifests
from mixit_jax.training.objectives import Objective
from mixit_jax.version import __version__
from mixit_jax.weights.provenance import card_stages
from mixit_jax.weights.runs import RUN_FORMAT, describe_weights

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def new_record(
  config: Config,
  objective: Objective,
  workdir: Path,
  mesh: Mesh,
  step: int,
  past: Mapping[str, Any] | None,
) -> dict[str, Any]:
  """Return what every checkpoint from this start on says of the run.

  Args:
    config: of the run, as it was asked for.
    objective: of the run, settled for its devices.
    workdir: its folder.
    mesh: its devices.
    step: steps taken so far.
    past: what its checkpoint has recorded; None at the first start.

  Returns:
    `format`, `version`, `config`; `data_fingerprint`, of data and order; `run`, its
    absolute path; `origin`, the stages of the weights that it began with;
    `starts`, see `mixit_jax.weights.provenance`.
  """
  starts: list[dict[str, Any]] = list(past.get("starts", [])) if past else []
  known: dict[str, Any] = {}
  for start in starts:
    known |= start
  now = _circumstances(config, mesh)
  new = {key: value for key, value in now.items() if known.get(key) != value}
  if past is not None and (changes := _changes(past["config"], config)):
    new["changes"] = changes
  time = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
  return {
    "format": RUN_FORMAT,
    "version": __version__,
    "config": config.to_dict(),
    "data_fingerprint": objective.fingerprint(),
    "run": str(Path(workdir).absolute()),
    "origin": _origin(config) if past is None else past.get("origin", []),
    "starts": [*starts, {"step": step, "time": time, **new}],
  }


def _changes(old: Mapping[str, Any], new: Config) -> dict[str, list[Any]]:
  """List the keys that an accepted restart has changed, with both values."""
  changes = differences(old, new.to_dict())
  changes.pop("run.allow_changes", None)
  if new.objective.kind == "mixit":
    changes.pop("data.stems", None)  # versions before this one noted MUSDB18's
  return {key: list(values) for key, values in changes.items()}


def _circumstances(config: Config, mesh: Mesh) -> dict[str, Any]:
  devices: Sequence[jax.Device] = list(mesh.devices.flat)
  return {
    "data": _data(config),
    "seeds": {"run": config.run.seed, "data": config.data.seed},
    "version": __version__,
    "commit": commit_of(Path(mixit_jax.__file__).parent.parent),
    "python": platform.python_version(),
    "packages": {name: metadata.version(name) for name in _PACKAGES},
    "host": socket.gethostname(),
    "devices": f"{len(devices)} x {devices[0].device_kind}",
    "processes": jax.process_count(),
  }


def _data(config: Config) -> dict[str, Any]:
  """Describe the data as it is now: a set, or `sets` with their `weights`."""
  sets = [_set(config, folder, manifest) for folder, manifest in load_manifests(config)]
  if len(sets) == 1:
    return sets[0]
  return {"sets": sets, "weights": list(config.data.weights)}


def _set(config: Config, folder: Path, manifest: Manifest) -> dict[str, Any]:
  songs = config.data.songs
  return {
    "shards": str(folder.absolute()),
    "songs": str(Path(songs).absolute()) if songs else "",
    "kind": manifest.kind,
    "fingerprint": manifest.fingerprint,
    "sample_rate": manifest.sample_rate,
    "seconds": manifest.seconds,
    "segments": {
      source: sum(shard["records"] for shard in shards)
      for source, shards in manifest.splits.get("train", {}).items()
    },
    "provenance": manifest.provenance,
  }


def _origin(config: Config) -> list[dict[str, Any]]:
  """Return the stages of the weights that a run starts from."""
  start = config.init
  if not start.run:
    return []
  return card_stages(describe_weights(Path(start.run), start.weights).card)


def commit_of(checkout: Path) -> str:
  """Return the commit of the code, "+" behind it where files differ; "" elsewhere."""
  if not (checkout / ".git").exists():
    return ""

  def git(*arguments: str) -> str:
    found = subprocess.run(
      ["git", "-C", str(checkout), *arguments],
      capture_output=True,
      text=True,
      check=True,
      timeout=20,
    )
    return found.stdout.strip()

  try:
    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD") + ("+" if changed else "")
  except (OSError, subprocess.SubprocessError):
    return ""
