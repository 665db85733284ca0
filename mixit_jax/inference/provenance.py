"""The data that weights were trained on, from the first stage to the last."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import UserError
from mixit_jax.weights.folder import format_of, load_description
from mixit_jax.weights.runs import describe_run

_OBJECTIVES = {"mixit": "pre-training (MixIT)", "stems": "supervised training"}


def training_stages(card: Mapping[str, Any]) -> list[str]:
  """Describe the training data of weights and of what their run started from.

  Args:
    card: of the weights.

  Returns:
    one line per stage, the last stage first. A line tells what can no longer be read.
  """
  stages: list[str] = []
  seen: set[Path] = set()
  while True:
    data = card.get("training_data") or "not stated"
    if isinstance(data, list):  # of an exported folder: all stages
      return stages + data
    stages.append(_stage(card, data))
    origin = card.get("init")
    if not origin or Path(origin).resolve() in seen:
      return stages
    seen.add(Path(origin).resolve())
    try:
      card = _card_of(Path(origin))
    except UserError:
      return [*stages, f"started from {origin}, which can no longer be read"]


def _card_of(folder: Path) -> Mapping[str, Any]:
  """Return the card of weights, without reading the parameters."""
  return (
    load_description(folder).card if format_of(folder) else describe_run(folder).card
  )


def _stage(card: Mapping[str, Any], data: str) -> str:
  objective = card.get("objective")
  if objective is None:  # imported: a text
    return f"{card['file']}: {data}" if "file" in card else data
  return f"{_OBJECTIVES.get(objective, objective)}: {_data_set(Path(data))}"


def _data_set(folder: Path) -> str:
  """Describe a data set in one line."""
  try:
    manifest = Manifest.load(folder)
  except UserError:
    return f"{folder} (can no longer be read)"
  counts = ", ".join(
    f"{sum(shard['records'] for shard in shards)} {source}"
    for source, shards in manifest.splits.get("train", {}).items()
  )
  return (
    f"{folder}, prepared as {manifest.kind}; segments of {manifest.seconds:g} s: "
    f"{counts}; fingerprint {manifest.fingerprint[:16]}"
  )
