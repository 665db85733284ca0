"""Where weights come from: the stages of training, as they were recorded meanwhile.

A stage is one run, or a file that was imported, as plain values. A run records in its
checkpoints what it trains on and with (`starts`: everything at its first start, and at
later ones what had changed), and the stages of the weights that it began with
(`origin`). Nothing is looked up later, when other things may lie at the same paths.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OBJECTIVES = {"mixit": "pre-training (MixIT)", "stems": "supervised training"}


def run_stages(
  document: Mapping[str, Any], run: Path, weights: str, steps: Sequence[int]
) -> list[dict[str, Any]]:
  """Describe the stages of a run's weights, the last one first.

  Args:
    document: what the run has recorded, see `runs.read_document`.
    run: its folder.
    weights: which weights were asked for, such as "mean".
    steps: of the checkpoints that they are the mean of.
  """
  config = document["config"]
  stage = {
    "objective": config["objective"]["kind"],
    "run": document.get("run", str(Path(run).absolute())),
    "weights": weights,
    "steps": list(steps),
  }
  if starts := document.get("starts"):
    return [{**stage, "starts": starts}, *document.get("origin", [])]
  # Of a version that recorded paths only, as they were typed.
  stages = [{**stage, "data": _unrecorded(config["data"]["shards"])}]
  origin = config["init"]["run"]
  return (
    [*stages, {"data": f"started from {_unrecorded(origin)}"}] if origin else stages
  )


def card_stages(card: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Return the stages that a card names, the last one first."""
  if "stages" in card:
    return list(card["stages"])
  data = card.get("training_data") or "not stated"
  if not isinstance(data, str):  # of a version that wrote lines
    return [{"data": line} for line in data]
  return [
    {key: card[key] for key in ("file", "sha256") if key in card} | {"data": data}
  ]


def training_data(stages: Sequence[Mapping[str, Any]]) -> list[str]:
  """Describe the data of each stage in one line."""
  return [_line(stage) for stage in stages]


def data_sets(stages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """List what was recorded of the data sets of all stages, the last one first."""
  return [
    data
    for stage in stages
    for start in reversed(stage.get("starts", ()))
    if "data" in start
    for data in start["data"].get("sets", [start["data"]])
  ]


def describe_data(data: Mapping[str, Any]) -> str:
  """Describe a data set, or several that are mixed, in one line."""
  if "sets" in data:
    weights = data["weights"]
    how = f"weighted {':'.join(f'{w:g}' for w in weights)}" if weights else "by hours"
    return f"mixed {how}: " + "; ".join(describe_data(part) for part in data["sets"])
  counts = ", ".join(f"{n} {source}" for source, n in data["segments"].items())
  return (
    f"{data['shards']}, prepared as {data['kind']}; segments of {data['seconds']:g} s "
    f"at {data['sample_rate']} Hz: {counts}; fingerprint {data['fingerprint'][:16]}"
  )


def composition(data: Mapping[str, Any]) -> list[tuple[str, str]]:
  """List what a data set consists of, as the rows of a table.

  Args:
    data: what was recorded of it.

  Returns:
    names and values; none where the preparation has not counted them.
  """
  table = data.get("provenance") or {}
  rows = [("source", table.get("source", ""))]
  rows += [(key, f"{table[key]:,}") for key in ("files", "segments") if key in table]
  if "hours" in table:
    rows.insert(2, ("hours", f"{table['hours']:,.1f}"))
  for license, counts in table.get("licenses", {}).items():
    text = f"{counts['files']:,} files, {counts['hours']:,.1f} h"
    rows.append((f"license {license}", text))
  rows += [
    (f"left out: {k}", f"{n:,} files") for k, n in table.get("left_out", {}).items()
  ]
  cut = table.get("cut_short", {})
  if cut.get("files"):
    lost = f"{cut['files']:,} files, {cut['seconds_lost']:,.1f} s lost"
    rows.append(("damaged, used in part", lost))
  if table.get("duplicates"):
    rows.append(("duplicates found", f"{table['duplicates']:,} files"))
  return rows if table else []


def _line(stage: Mapping[str, Any]) -> str:
  kind = OBJECTIVES.get(stage.get("objective", ""), stage.get("file", ""))
  texts = [stage["data"]] if "data" in stage else []
  for start in stage.get("starts", ()):
    if "data" in start:
      since = f"from step {start['step']} on: " if texts else ""
      texts.append(since + describe_data(start["data"]))
  return f"{kind}: {'; '.join(texts)}" if kind else "; ".join(texts)


def _unrecorded(path: str) -> str:
  return f"{path} (as its configuration says; not recorded while training)"
