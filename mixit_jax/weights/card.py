"""The model card of a folder of weights, as Markdown."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mixit_jax.weights.folder import Weights, flatten_params

_NOT_STATED = "not stated"

# Entries of the card that have a section of their own.
_OWN_SECTION = frozenset({"training_data", "license"})
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
    "## License",
    f"Weights: {_text(card.get('license') or _NOT_STATED)}. The licenses of their "
    "training data apply as well. Code (mixit_jax): Apache-2.0.",
    "## Provenance",
    _table(("entry", "value"), provenance),
    "## Files",
    _table(("tensors", "SHA-256"), digests.items()),
  ]
  return "\n\n".join(sections) + "\n"


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
