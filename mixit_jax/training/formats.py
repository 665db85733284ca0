"""Formats in which the tensors of a folder of weights may be.

The rest of the folder, `config.json`, is the same for all: see `separator/weights.py`.
Every format holds the same float32 values, to the bit.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from mixit_jax.separator.torch_files import read_torch_file, write_torch_file
from mixit_jax.separator.torch_weights import from_torch, stft_windows, to_torch
from mixit_jax.separator.weights import (
  TENSOR_FILE,
  Weights,
  WeightsError,
  check_tensors,
  load_description,
  load_weights,
  save_description,
  save_weights,
)


class Format(NamedTuple):
  """A way to store weights.

  Attributes:
    tensors: name of the file or folder of the tensors in the folder of weights.
    save: writes weights into a folder.
    load: reads the weights of a folder.
  """

  tensors: str
  save: Callable[[Path, Weights], None]
  load: Callable[[Path], Weights]


def format_of(folder: Path) -> Format | None:
  """Format of a folder of weights; None where the folder is none."""
  for candidate in FORMATS.values():
    if (Path(folder) / candidate.tensors).exists():
      return candidate
  return None


def _save_orbax(folder: Path, weights: Weights) -> None:
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    path = (folder / _ORBAX).absolute()
    checkpointer.save(path, args=ocp.args.PyTreeSave(weights.params))
  save_description(folder, weights)


def _load_orbax(folder: Path) -> Weights:
  weights = load_description(folder)
  path = (folder / _ORBAX).absolute()
  try:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
      tree = checkpointer.metadata(path).item_metadata.tree
      arrays = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
      restore = ocp.checkpoint_utils.construct_restore_args(arrays)
      args = ocp.args.PyTreeRestore(item=arrays, restore_args=restore)
      params = checkpointer.restore(path, args=args)
  except Exception as error:  # Orbax and TensorStore raise many kinds
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    raise WeightsError(f"{path} holds no readable weights ({reason})") from error
  check_tensors(weights.config, params, path)
  return dataclasses.replace(weights, params=params)


def _save_torch(folder: Path, weights: Weights) -> None:
  state_dict = to_torch(weights.config, weights.params)
  write_torch_file(folder / _TORCH, state_dict | stft_windows(weights.config))
  save_description(folder, weights)


def _load_torch(folder: Path) -> Weights:
  weights = load_description(folder)
  content = read_torch_file(folder / _TORCH)
  _, params = from_torch(content, **vars(weights.config))
  return dataclasses.replace(weights, params=params)


_ORBAX, _TORCH = "model.orbax", "model.pth"

FORMATS = {
  "safetensors": Format(TENSOR_FILE, save_weights, load_weights),
  "orbax": Format(_ORBAX, _save_orbax, _load_orbax),
  "torch": Format(_TORCH, _save_torch, _load_torch),
}
