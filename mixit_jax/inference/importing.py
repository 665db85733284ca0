"""PyTorch weights of the paper's format as a folder that all commands take."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixit_jax.errors import UserError
from mixit_jax.files import check_vacant, sha256
from mixit_jax.inference.exporting import write_model
from mixit_jax.stems import STEMS, name_problem
from mixit_jax.version import __version__
from mixit_jax.weights.folder import (
  CONFIG_FILE,
  Weights,
  WeightsError,
  format_of,
  load_description,
)
from mixit_jax.weights.torch_files import read_torch_file
from mixit_jax.weights.torch_weights import from_torch

MERGED_CONFIG = "merged_config.yaml"


def import_torch(
  file: str | Path,
  out: str | Path,
  merged_config: str | Path | None = None,
  stems: Sequence[str] | None = None,
  training_data: str = "",
  license: str = "",
  **overrides: int,
) -> Weights:
  """Turn a PyTorch file into a folder of weights; no code in it is executed.

  The model computes in bfloat16 on GPU and TPU, as the paper's code does, and in
  float32 on CPU.

  Args:
    file: `.pth` or `.ckpt` file.
    out: folder to create.
    merged_config: configuration published with the file; None looks beside it.
    stems: names of the outputs, () for those of a pre-trained model, which have none.
      None names four outputs in the paper's order and no others.
    training_data: text for the card.
    license: text for the card.
    **overrides: fields of `SeparatorConfig` that cannot be inferred; n_heads and
      n_groups are understood.

  Returns:
    the weights that were written.

  Raises:
    UserError: the file is damaged, holds other objects than tensors and plain values,
      or weights of another model; a field of the configuration cannot be inferred; the
      names do not fit; or the folder already holds files.
  """
  file, out = Path(file), Path(out)
  check_vacant(out)
  content = read_torch_file(file)
  merged_config = Path(merged_config) if merged_config else find_merged_config(file)
  own = None if merged_config else _own_description(file)
  known: dict[str, Any] = {**vars(own.config)} if own else {"dtype": "auto"}
  if own and stems is None:
    stems = own.stems or ()
  config, params = from_torch(
    content, merged_config=merged_config, **(known | overrides)
  )
  source = CONFIG_FILE if own else "shapes and presets"
  if merged_config:
    source = merged_config.name
  card = {
    "file": file.name,
    "sha256": sha256(file),
    "configuration": source,
    "overrides": overrides,
    "training_data": training_data or None,
    "license": license or None,
    "imported": datetime.date.today().isoformat(),
    "version": __version__,
  }
  weights = Weights(config, params, _names(stems, config.num_sources), card)
  write_model(out, weights, "safetensors")
  return weights


def find_merged_config(file: str | Path) -> Path | None:
  """Find the `merged_config.yaml` published with a file, if any.

  It is looked for beside the file and, where the file is in a folder `checkpoints`,
  beside that folder.
  """
  folders = [Path(file).absolute().parent]
  if folders[0].name == "checkpoints":
    folders.append(folders[0].parent)
  found = (folder / MERGED_CONFIG for folder in folders)
  return next((path for path in found if path.is_file()), None)


def _own_description(file: Path) -> Weights | None:
  """Read the `config.json` beside a file that `export` has written, if it is one."""
  stored = format_of(file.parent)
  if stored is None or stored.name != file.name:
    return None
  try:
    return load_description(file.parent)
  except WeightsError:  # of something else
    return None


def _names(stems: Sequence[str] | None, num_sources: int) -> tuple[str, ...] | None:
  """Return the names of the outputs, or None for a pre-trained model."""
  if stems is None:
    return STEMS if num_sources == len(STEMS) else None
  if not stems:
    return None
  if len(set(stems)) != num_sources or len(stems) != num_sources or not all(stems):
    raise UserError(
      f"--stems={','.join(stems)}: the model has {num_sources} outputs; give as many "
      "different names, or none"
    )
  if problem := name_problem(stems):
    raise UserError(f"--stems={','.join(stems)}: {problem}")
  return tuple(stems)
