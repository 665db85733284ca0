"""The model card of a folder of weights, as Markdown that model hubs understand.

Its front matter (YAML between two lines of dashes) tells them licence, tags, data sets
and, where an evaluation is given, scores.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixit_jax.weights.folder import Weights, flatten_params
from mixit_jax.weights.provenance import (
  OBJECTIVES,
  composition,
  data_sets,
  describe_data,
)

_NOT_STATED = "not stated"

# Entries of the card that have a section of their own.
_OWN_SECTION = frozenset({"training_data", "license", "stages", "scores"})
_TAGS = (
  "audio",
  "music",
  "music-source-separation",
  "audio-to-audio",
  "jax",
  "flax",
  "mixit",
)
# Licences that hubs know by such names; others are given in full.
_KNOWN_LICENSE = re.compile(
  r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.0|apache-2\.0|mit|bsd-[23]-clause"
)
_LABELS = {
  "run": "run",
  "weights": "weights",
  "steps": "mean of the checkpoints of steps",
  "objective": "objective",
  "init": "started from",
  "file": "imported from",
  "sha256": "SHA-256 of that file",
  "configuration": "configuration from",
  "overrides": "set by hand",
  "imported": "imported on",
  "exported": "exported on",
  "version": "version of mixit_jax",
}


def model_card(weights: Weights, digests: Mapping[str, str]) -> str:
  """Render a model card.

  Args:
    weights: weights, with the card to render.
    digests: SHA-256 of each file of tensors, by its name.

  Returns:
    Markdown: outputs, use, configuration with the number of parameters, training data
    and license, provenance, files.
  """
  config, card = weights.config, weights.card
  parameters = sum(np.size(leaf) for _, leaf in flatten_params(weights.params))
  if weights.stems:
    outputs = f"It separates music into {', '.join(weights.stems)}."
  else:
    outputs = (
      f"It is pre-trained: its {config.num_sources} outputs have no names. Fine-tune "
      "it, or let `mixit-jax select-channels` find which output is which stem."
    )
  settings = [("parameters", f"{parameters:,}"), *dataclasses.asdict(config).items()]
  provenance = [
    (_LABELS.get(key, key), value)
    for key, value in card.items()
    if key not in _OWN_SECTION and value not in (None, "", [], {})
  ]
  data = card.get("training_data") or _NOT_STATED
  sections = [
    _front_matter(weights),
    f"# Band-split TF-Locoformer, {config.num_sources} outputs",
    f"Weights of a music source separator. {outputs}",
    "```python\n"
    "import mixit_jax\n\n"
    'model = mixit_jax.load("this folder")\n'
    'stems = model.separate("song.mp3")\n'
    "```",
    "## Configuration",
    _table(("setting", "value"), settings),
    "## Training data",
    "\n".join(
      f"- {_text(line)}" for line in ([data] if isinstance(data, str) else data)
    ),
    *_compositions(card.get("stages", [])),
    "## License",
    f"Weights: {_text(card.get('license') or _NOT_STATED)}. The licenses of their "
    "training data apply as well. Code (mixit_jax): Apache-2.0.",
    "## Provenance",
    _table(("entry", "value"), provenance),
    *_history(card.get("stages", [])),
    *_scores(card.get("scores")),
    "## Files",
    _table(("tensors", "SHA-256"), digests.items()),
  ]
  return "\n\n".join(sections) + "\n"


def _front_matter(weights: Weights) -> str:
  """Return the YAML that hubs read; its strings are JSON, which YAML includes."""
  card = weights.card
  lines = ["---", *_license_lines(card.get("license")), "library_name: mixit_jax"]
  lines += ["pipeline_tag: audio-to-audio", "tags:", *(f"- {tag}" for tag in _TAGS)]
  names = {Path(data["shards"]).name for data in data_sets(card.get("stages", []))}
  if names:
    lines += ["datasets:", *(f"- {json.dumps(name)}" for name in sorted(names))]
  if scores := card.get("scores"):
    metrics = sorted({row["score"] for row in scores["rows"]})
    lines += ["metrics:", *(f"- {name}" for name in metrics), *_model_index(scores)]
  return "\n".join([*lines, "---"])


def _license_lines(license: str | None) -> list[str]:
  if not license:
    return ["license: unknown"]
  name = "-".join(license.lower().split())
  name = "cc0-1.0" if name == "cc0" else name
  if _KNOWN_LICENSE.fullmatch(name):
    return [f"license: {name}"]
  return ["license: other", f"license_name: {json.dumps(license)}"]


def _model_index(scores: Mapping[str, Any]) -> list[str]:
  """Write scores as hubs list results of a model."""
  lines = [
    "model-index:",
    "- name: mixit_jax",
    "  results:",
    "  - task: {type: audio-to-audio, name: Music source separation}",
    f"    dataset: {{name: {json.dumps(scores['songs'])}, type: music}}",
    "    metrics:",
  ]
  for row in scores["rows"]:
    name = f"{row['score']} {row['stem']}"
    if row["low"] is not None:
      name += f", 95 % interval {row['low']} to {row['high']}"
    lines.append(
      f"    - {{type: {row['score']}, value: {row['value']}, name: {json.dumps(name)}}}"
    )
  return lines


def _scores(scores: Mapping[str, Any] | None) -> list[str]:
  if not scores:
    return []
  rows = []
  for row in scores["rows"]:
    known = row["low"] is not None  # not of a single song
    interval = f" ({row['low']} to {row['high']})" if known else ""
    rows.append((f"{row['score']} {row['stem']}", f"{row['value']}{interval}"))
  return [
    "## Scores",
    f"On {_text(scores['songs'])}, in dB; in parentheses the 95 % interval over songs.",
    _table(("score", "dB"), rows),
  ]


def _compositions(stages: Iterable[Mapping[str, Any]]) -> list[str]:
  """Tell what the data sets of all stages consist of, each once."""
  sections: list[str] = []
  for data in data_sets(list(stages)):
    rows = composition(data)
    table = _table(("of the data", "count"), rows)
    if rows and table not in sections:
      sections += [f"### {_text(rows[0][1])}", table]
  return sections


def _history(stages: Iterable[Mapping[str, Any]]) -> list[str]:
  """Tell the starts of every stage, from the last stage back to the first."""
  sections = []
  for stage in stages:
    kind = OBJECTIVES.get(stage.get("objective", ""), "")
    if starts := stage.get("starts"):
      steps = ", ".join(map(str, stage["steps"]))
      lines = [
        f"### {kind}: {_text(stage['run'])}",
        f"Weights: {stage['weights']} ({steps}).",
      ]
      sections += [*lines, "\n".join(_start(start) for start in starts)]
  return ["## History", *sections] if sections else []


def _start(start: Mapping[str, Any]) -> str:
  """Tell one start: what held from then on, as far as it was new."""
  entries = [
    f"{name}: {describe_data(value) if name == 'data' else _text(value)}"
    for name, value in start.items()
    if name not in ("step", "time") and value not in ("", [], {})
  ]
  return f"- step {start['step']}, {start['time']}" + "".join(
    f"\n  - {_text(entry)}" for entry in entries
  )


def _table(header: tuple[str, str], rows: Iterable[tuple[str, Any]]) -> str:
  lines = [header, ("---", "---"), *((_text(a), _text(b)) for a, b in rows)]
  return "\n".join(f"| {a} | {b} |" for a, b in lines)


def _text(value: Any) -> str:
  """Return a value on one line, without anything that would end a cell of a table."""
  if isinstance(value, list | tuple):
    value = ", ".join(str(item) for item in value)
  if isinstance(value, dict):
    value = ", ".join(f"{key}={item}" for key, item in value.items())
  return " ".join(str(value).split()).replace("|", "\\|")
