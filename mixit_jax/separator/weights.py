"""A separator's weights in a folder of their own: configuration, card and tensors.

`config.json` holds the model's configuration, the names of its outputs and the card;
`model.safetensors` the parameters, named by their path (`blocks/…`). Any program that
reads safetensors can open it, and no code is executed in doing so. Other formats of the
tensors share `config.json`, see `training/formats.py`.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mixit_jax.errors import UserError
from mixit_jax.separator.bs_locoformer import Separator, SeparatorConfig
from mixit_jax.version import __version__

FORMAT = "mixit_jax weights"
CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"


class WeightsError(UserError):
  """A folder of weights that cannot be used."""


@dataclasses.dataclass(frozen=True)
class Weights:
  """A separator ready to run.

  Attributes:
    config: configuration of the model.
    params: its parameters, nested dicts of float32 arrays.
    stems: names of the outputs; None for a pre-trained model, whose outputs have none.
    card: where the weights come from: training data, licence, provenance.
  """

  config: SeparatorConfig
  params: dict[str, Any]
  stems: tuple[str, ...] | None = None
  card: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def flatten_params(params: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
  """Pairs of path (`blocks/…`) and array."""
  for name, value in _leaves(params):
    yield name, np.asarray(value)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from _leaves(value, f"{prefix}{name}/")
    else:
      yield f"{prefix}{name}", value


def unflatten_params(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Nested dicts from paths."""
  params: dict[str, Any] = {}
  for path, value in tensors.items():
    *folders, name = path.split("/")
    node = params
    for folder in folders:
      node = node.setdefault(folder, {})
    node[name] = value
  return params


def save_weights(folder: Path, weights: Weights) -> None:
  """Writes a folder of weights, the configuration last."""
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  tensors = {k: np.ascontiguousarray(v) for k, v in flatten_params(weights.params)}
  _write(folder / TENSOR_FILE, save(tensors, metadata={"format": FORMAT}))
  save_description(folder, weights)


def load_weights(folder: Path) -> Weights:
  """Reads a folder of weights that `save_weights` wrote.

  Raises:
    WeightsError: a file is missing, damaged or of another format, or the tensors are
      not those of the configuration.
  """
  weights = load_description(folder)
  file = Path(folder) / TENSOR_FILE
  try:
    tensors = load_file(file)
  except (OSError, SafetensorError) as error:
    raise WeightsError(f"{file} holds no readable weights ({error})") from error
  check_tensors(weights.config, tensors, file)
  return dataclasses.replace(weights, params=unflatten_params(tensors))


def check_tensors(
  config: SeparatorConfig, params: Mapping[str, Any], file: Path
) -> None:
  """Raises WeightsError unless names and shapes are those of the configuration.

  Args:
    config: configuration of the model.
    params: arrays by path, or nested dicts of them.
    file: where they are from, for the message.
  """
  mixture = jax.ShapeDtypeStruct((1, config.num_channels, 2 * config.n_fft), "float32")
  key = jax.eval_shape(lambda: jax.random.key(0))
  wanted = jax.eval_shape(Separator(config).init, key, mixture)["params"]
  expected, found = (
    {name: tuple(leaf.shape) for name, leaf in _leaves(tree)}
    for tree in (wanted, params)
  )
  for name in sorted(expected.keys() | found.keys()):
    if expected.get(name) != found.get(name):
      raise WeightsError(
        f"{file}: the tensor {name} is {found.get(name, 'absent')}, but "
        f"{expected.get(name, 'absent')} in the model of {CONFIG_FILE}; one of the two "
        "was changed: export or import the weights again"
      )


def save_description(folder: Path, weights: Weights) -> None:
  """Writes all but the parameters as `config.json`."""
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  document = {
    "format": FORMAT,
    "version": __version__,
    "model": dataclasses.asdict(weights.config),
    "stems": weights.stems,
    "card": dict(weights.card),
  }
  _write(folder / CONFIG_FILE, (json.dumps(document, indent=2) + "\n").encode())


def load_description(folder: Path) -> Weights:
  """Reads `config.json`; the parameters are left empty.

  Raises:
    WeightsError: the file is missing, damaged or of another format.
  """
  file = Path(folder) / CONFIG_FILE
  try:
    document = json.loads(file.read_text())
  except (OSError, ValueError) as error:
    raise WeightsError(f"{folder} holds no readable weights ({error})") from error
  if not isinstance(document, dict) or document.get("format") != FORMAT:
    raise WeightsError(f"{file} does not describe weights of mixit_jax")
  try:
    values: dict[str, Any] = {
      key: tuple(value) if isinstance(value, list) else value
      for key, value in document["model"].items()
    }
    config = SeparatorConfig(**values)
    stems = None if document["stems"] is None else tuple(document["stems"])
    return Weights(config, {}, stems, dict(document["card"]))
  except (AttributeError, KeyError, TypeError, ValueError, UserError) as error:
    raise WeightsError(
      f"{file} was written by version {document.get('version')} and cannot be used by "
      f"version {__version__}: {error}"
    ) from error


def _write(path: Path, content: bytes) -> None:
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  temporary.write_bytes(content)
  temporary.replace(path)
