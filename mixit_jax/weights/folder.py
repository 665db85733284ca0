"""A separator's weights in a folder of their own: configuration, card and tensors.

`config.json` holds the model's configuration, the names of its outputs and the card;
the tensors are in one of three formats. The default, `model.safetensors`, holds the
parameters by their path (`blocks/…`): any program that reads safetensors can open it,
and reading it executes no code. All formats hold the same float32 values, bit for bit.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mixit_jax.checked import build
from mixit_jax.devices.start import standard_types
from mixit_jax.errors import UserError, one_line
from mixit_jax.files import read_json, replacing, sha256, write_json
from mixit_jax.separator import init
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.stems import name_problem
from mixit_jax.version import __version__
from mixit_jax.weights.torch_files import read_torch_file, write_torch_file
from mixit_jax.weights.torch_weights import from_torch, stft_windows, to_torch

FORMAT = "mixit_jax weights"
CONFIG_FILE = "config.json"


class WeightsError(UserError):
  """A folder of weights that cannot be used."""


@dataclasses.dataclass(frozen=True)
class Weights:
  """A separator ready to run.

  Attributes:
    config: configuration of the model.
    params: its parameters, nested dicts of float32 arrays.
    stems: names of the outputs; None for a pre-trained model, whose outputs have no
      names.
    card: where the weights come from: training data, license, provenance.
  """

  config: SeparatorConfig
  params: dict[str, Any]
  stems: tuple[str, ...] | None = None
  card: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Format(NamedTuple):
  """A way to store tensors.

  Attributes:
    name: of the file or folder of the tensors.
    save: writes the parameters there.
    load: reads the parameters of a model from there and refuses those of another.
  """

  name: str
  save: Callable[[Path, Weights], None]
  load: Callable[[Path, SeparatorConfig], dict[str, Any]]


def format_of(folder: Path) -> Format | None:
  """Return the format of a folder of weights, or None for any other folder."""
  for candidate in FORMATS.values():
    if (Path(folder) / candidate.name).exists():
      return candidate
  return None


def save_weights(
  folder: Path, weights: Weights, tensor_format: str = "safetensors"
) -> Path:
  """Write a folder of weights, the configuration last.

  Returns:
    file or folder of the tensors.

  Raises:
    UserError: the format is unknown, or PyTorch is needed and not installed.
  """
  if tensor_format not in FORMATS:
    raise UserError(f"format {tensor_format!r} is not one of {', '.join(FORMATS)}")
  stored = FORMATS[tensor_format]
  tensors = Path(folder) / stored.name
  tensors.parent.mkdir(parents=True, exist_ok=True)
  stored.save(tensors, weights)
  document = {
    "format": FORMAT,
    "version": __version__,
    "model": dataclasses.asdict(weights.config),
    "stems": weights.stems,
    "card": dict(weights.card),
    "sha256": digests(tensors),
  }
  write_json(Path(folder) / CONFIG_FILE, document)
  return tensors


def load_weights(folder: Path) -> Weights:
  """Read a folder of weights.

  Raises:
    WeightsError: a file is missing, damaged or of another format, or the tensors are
      not those of the configuration.
  """
  stored = format_of(folder)
  weights = load_description(folder)
  if stored is None:
    names = ", ".join(known.name for known in FORMATS.values())
    raise WeightsError(f"{folder} holds no tensors: expected one of {names}")
  tensors = Path(folder) / stored.name
  params = stored.load(tensors, weights.config)
  _verify(tensors, read_json(Path(folder) / CONFIG_FILE).get("sha256"))
  return dataclasses.replace(weights, params=params)


def load_description(folder: Path) -> Weights:
  """Read `config.json`; the parameters are left empty.

  Raises:
    WeightsError: the file is missing, damaged or of another format.
  """
  file = Path(folder) / CONFIG_FILE
  try:
    document = read_json(file)
  except UserError as error:
    raise WeightsError(f"{folder} holds no readable weights ({error})") from error
  if document.get("format") != FORMAT:
    raise WeightsError(f"{file} does not describe weights of mixit_jax")
  try:
    config = build(SeparatorConfig, document["model"])
    stems = None if document["stems"] is None else tuple(document["stems"])
    if problem := name_problem(stems or ()):
      raise WeightsError(f"{file}: stems: {problem}")
    card = dict(document["card"])
    if "licence" in card:  # as version 0.1 spelled it
      card["license"] = card.pop("licence")
    return Weights(config, {}, stems, card)
  except WeightsError:
    raise
  except (KeyError, TypeError, ValueError, UserError) as error:
    raise WeightsError(
      f"{file} was written by version {document.get('version')} and cannot be used by "
      f"version {__version__}: {error}"
    ) from error


def digests(tensors: Path) -> dict[str, str]:
  """Return the SHA-256 of each file of tensors, by its name in the folder."""
  files = sorted(tensors.rglob("*")) if tensors.is_dir() else [tensors]
  return {
    file.relative_to(tensors.parent).as_posix(): sha256(file)
    for file in files
    if file.is_file()
  }


def _verify(tensors: Path, stated: Any) -> None:
  """Raise a WeightsError where a file is not the one that was written.

  Folders of earlier states of this version state nothing.
  """
  if not isinstance(stated, Mapping):
    return
  found = digests(tensors)
  for name in sorted(stated.keys() | found.keys()):
    if stated.get(name) != found.get(name):
      raise WeightsError(
        f"{tensors.parent / name} is damaged or was replaced: its SHA-256 is not that"
        f" of {CONFIG_FILE}; get the weights again"
      )


def flatten_params(params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
  """Yield pairs of path (`blocks/…`) and leaf of nested dicts."""
  for name, value in params.items():
    if isinstance(value, Mapping):
      yield from ((f"{name}/{path}", leaf) for path, leaf in flatten_params(value))
    else:
      yield name, value


def unflatten_params(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Make nested dicts from paths (`blocks/…`) and leaves."""
  params: dict[str, Any] = {}
  for path, value in tensors.items():
    *folders, name = path.split("/")
    node = params
    for folder in folders:
      node = node.setdefault(folder, {})
    node[name] = value
  return params


def _check_tensors(
  config: SeparatorConfig, params: Mapping[str, Any], tensors: Path
) -> None:
  """Raise a WeightsError unless names and shapes are those of the configuration."""
  with standard_types():
    key = jax.eval_shape(lambda: jax.random.key(0))
    wanted = jax.eval_shape(lambda key: init(config, key), key)
  expected, found = (
    {name: tuple(leaf.shape) for name, leaf in flatten_params(tree)}
    for tree in (wanted, params)
  )
  for name in sorted(expected.keys() | found.keys()):
    if expected.get(name) != found.get(name):
      raise WeightsError(
        f"{tensors}: the tensor {name} is {found.get(name, 'absent')}, but "
        f"{expected.get(name, 'absent')} in the model of {CONFIG_FILE}; one of the two "
        "was changed: export or import the weights again"
      )


def _save_safetensors(file: Path, weights: Weights) -> None:
  tensors = {
    path: np.ascontiguousarray(leaf) for path, leaf in flatten_params(weights.params)
  }
  with replacing(file) as temporary:
    temporary.write_bytes(save(tensors, metadata={"format": FORMAT}))


def _load_safetensors(file: Path, config: SeparatorConfig) -> dict[str, Any]:
  try:
    tensors = load_file(file)
  except (OSError, SafetensorError) as error:
    raise WeightsError(f"{file} holds no readable weights ({error})") from error
  _check_tensors(config, tensors, file)
  return unflatten_params(tensors)


def _save_orbax(folder: Path, weights: Weights) -> None:
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    checkpointer.save(folder.absolute(), args=ocp.args.PyTreeSave(weights.params))


def _load_orbax(folder: Path, config: SeparatorConfig) -> dict[str, Any]:
  try:
    params = restore_tree(folder)
  except Exception as error:  # Orbax and TensorStore raise many types
    raise WeightsError(
      f"{folder} holds no readable weights ({one_line(error)[:200]})"
    ) from error
  _check_tensors(config, params, folder)
  return params


def restore_tree(folder: Path, entry: str | None = None) -> dict[str, Any]:
  """Read nested arrays from a folder that Orbax wrote, on the host.

  Args:
    folder: of the arrays.
    entry: read this entry of the tree alone.

  Raises:
    KeyError: there is no such entry, or it is empty.
  """
  folder = Path(folder).absolute()
  with (
    _without_warnings(),
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer,
  ):
    tree = checkpointer.metadata(folder).item_metadata.tree
    if entry is not None:
      if not tree.get(entry):
        raise KeyError(entry)
      tree = {entry: tree[entry]}
    arrays = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
    restored = checkpointer.restore(
      folder,
      args=ocp.args.PyTreeRestore(
        item=arrays,
        partial_restore=entry is not None,
        restore_args=ocp.checkpoint_utils.construct_restore_args(arrays),
      ),
    )
  return restored if entry is None else restored[entry]


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
  """Silence Orbax, which misses a file that a part of a checkpoint does not have."""
  logger = logging.getLogger("absl")
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)


def _save_torch(file: Path, weights: Weights) -> None:
  state_dict = to_torch(weights.config, weights.params)
  write_torch_file(file, state_dict | stft_windows(weights.config))


def _load_torch(file: Path, config: SeparatorConfig) -> dict[str, Any]:
  return from_torch(read_torch_file(file), **vars(config))[1]


FORMATS = {
  "safetensors": Format("model.safetensors", _save_safetensors, _load_safetensors),
  "orbax": Format("model.orbax", _save_orbax, _load_orbax),
  "torch": Format("model.pth", _save_torch, _load_torch),
}
