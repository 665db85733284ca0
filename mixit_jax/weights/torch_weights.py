"""Weights of the paper's PyTorch models, in both directions, without PyTorch.

A published state dict holds one entry per band and block, under `model.model.`; ours
stacks blocks, and bands of equal width, on a leading axis. Only the layout changes: a
round trip is bit-exact.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.separator.bands import band_runs
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.weights.torch_config import infer_config

PREFIX = "model.model."
# Entries without weights: those of published files, and all others with such a name.
WINDOWS = ("model.stft.0.window", "model.istft.window", "stft.0.window")
_IGNORED = re.compile(r"i?stft(\.\d+)?\.window")
_LISTED = 3
# Entries of checkpoints that hold the state dict.
_WRAPPERS = ("state_dict", "model_state_dict", "state", "model")


def from_torch(
  state_dict: Mapping[str, Any],
  *,
  merged_config: Mapping[str, Any] | str | Path | None = None,
  **overrides: Any,
) -> tuple[SeparatorConfig, dict[str, Any]]:
  """Turn a PyTorch state dict into a configuration and parameters.

  Most of the configuration follows from the shapes. Heads, groups, hop and sample
  rate do not: they come from `overrides`, else from `merged_config`, else from the
  paper's preset of the same width and depth.

  Args:
    state_dict: arrays or tensors by key, with or without the prefix `model.model.`
      or `model.`; or a Lightning checkpoint, which holds one as `state_dict`. STFT
      windows are ignored.
    merged_config: content or path of the `merged_config.yaml` beside the published
      weights; it is searched at any depth for fields that the shapes do not reveal.
    **overrides: fields of `SeparatorConfig`; n_heads and n_groups are understood.

  Returns:
    the configuration, and parameters as nested dicts of float32 numpy arrays for
    `Separator(config).apply({"params": params}, mixture)`.

  Raises:
    UserError: a weight is missing, unknown or of another shape, or a field of the
      configuration cannot be inferred; the message names it.
  """
  weights = _without_prefix(state_dict)
  shapes = {key: _shape_of(key, value) for key, value in weights.items()}
  config = infer_config(shapes, merged_config, overrides)
  leaves = list(_leaves(config))
  expected = {key: leaf.shape for leaf in leaves for key in leaf.keys}
  _check_keys("missing weights", expected.keys() - shapes.keys())
  _check_keys("unknown entries", shapes.keys() - expected.keys())
  for key, shape in expected.items():
    if shapes[key] != shape:
      raise UserError(f"{key}: expected shape {shape}, found {shapes[key]}")
  params: dict[str, Any] = {}
  for leaf in leaves:
    node = params
    for name in leaf.path[:-1]:
      node = node.setdefault(name, {})
    arrays = (_float32(key, weights[key]) for key in leaf.keys)
    node[leaf.path[-1]] = np.stack([leaf.layout.to_ours(array) for array in arrays])
  return config, params


def to_torch(config: SeparatorConfig, params: Mapping[str, Any]) -> dict[str, Any]:
  """Turn parameters into a state dict with the keys of the published models.

  Args:
    config: configuration of the separator.
    params: its parameters, nested dicts of arrays.

  Returns:
    float32 numpy arrays by key (`model.model.…`), without STFT windows.

  Raises:
    UserError: a parameter is missing or its shape is not that of the configuration.
  """
  state_dict = {}
  for leaf in _leaves(config):
    name = "/".join(leaf.path)
    node: Any = params
    for part in leaf.path:
      if part not in node:
        raise UserError(f"params have no {name}, which the configuration asks for")
      node = node[part]
    stacked = _float32(name, node)
    if len(stacked) != len(leaf.keys):
      raise UserError(f"{name}: expected {len(leaf.keys)} rows, found {len(stacked)}")
    for key, array in zip(leaf.keys, stacked, strict=True):
      array = np.ascontiguousarray(leaf.layout.to_torch(array))
      if array.shape != leaf.shape:
        raise UserError(
          f"{name}: gives {key} the shape {array.shape}, but the configuration"
          f" asks for {leaf.shape}"
        )
      state_dict[PREFIX + key] = array
  return state_dict


def stft_windows(config: SeparatorConfig) -> dict[str, np.ndarray]:
  """Return the periodic Hann windows of a published state dict.

  Loading with strict key matching needs them; `from_torch` ignores them.
  """
  phase = 2 * np.pi * np.arange(config.n_fft) / config.n_fft
  window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
  return dict.fromkeys(WINDOWS, window)


class _Layout(NamedTuple):
  """How a tensor of one layer lies in PyTorch and here."""

  to_ours: Callable[[np.ndarray], np.ndarray]
  to_torch: Callable[[np.ndarray], np.ndarray]


class _Leaf(NamedTuple):
  """One of our stacked parameters and the PyTorch tensors that it holds.

  Attributes:
    path: where it is in the parameters.
    keys: the PyTorch tensors, in the order of the leading axis.
    shape: PyTorch shape of each.
    layout: how each is rearranged.
  """

  path: tuple[str, ...]
  keys: list[str]
  shape: tuple[int, ...]
  layout: _Layout


_SAME = _Layout(lambda x: x, lambda x: x)
# [out, in] <-> [in, out] and [out, in, tap] <-> [tap, in, out]
_REVERSED = _Layout(lambda x: x.T, lambda x: x.T)
# [out, in, 1] <-> [in, out]
_POINTWISE = _Layout(lambda x: x[..., 0].T, lambda x: x.T[..., None])
# Transposed convolution: [in, out, tap] <-> [tap, in, out], with the taps in reverse
# order, since ours is written as a correlation.
_FLIPPED = _Layout(
  lambda x: x.transpose(2, 0, 1)[::-1], lambda x: x[::-1].transpose(1, 2, 0)
)


def _leaves(config: SeparatorConfig) -> Iterator[_Leaf]:
  """Yield all parameters of a separator."""
  if config.num_masks:
    raise UserError(
      f"the outputs are weighted sums of {config.num_masks} masks (model.num_masks); "
      "in the paper's PyTorch model each has one, so that these weights have no place "
      "in it"
    )
  yield from _block_leaves(config)
  dim, bands = config.embed_dim, range(len(config.bands))
  encoders = [f"band_split_module.band_split_module.{k}" for k in bands]
  decoders = [f"band_split_module.bandwise_decoding_module.{k}" for k in bands]
  yield from _norm(("decoder", "norm"), decoders, dim)
  yield from _dense(("decoder", "expand"), decoders, 1, dim, 4 * dim)
  yield from _dense(("decoder", "hidden"), decoders, 2, 4 * dim, 4 * dim)
  first = 0
  for run, (count, width) in enumerate(band_runs(config.bands)):
    part = slice(first, first + count)
    rows = 2 * config.num_channels * width
    yield from _norm(("band_split", f"norm_{run}"), encoders[part], rows)
    yield from _dense(("band_split", f"dense_{run}"), encoders[part], 1, rows, dim)
    # Twice the masks of all sources, for the gate.
    outputs = 2 * config.num_sources * rows
    yield from _dense(("decoder", f"mask_{run}"), decoders[part], 4, 4 * dim, outputs)
    first += count


def _norm(path: tuple[str, str], modules: list[str], rows: int) -> Iterator[_Leaf]:
  """Yield the group norm of some bands."""
  for ours, theirs in (("gain", "weight"), ("bias", "bias")):
    keys = [f"{module}.0.{theirs}" for module in modules]
    yield _Leaf((*path, ours), keys, (rows,), _SAME)


def _dense(
  path: tuple[str, str], modules: list[str], index: int, rows: int, outputs: int
) -> Iterator[_Leaf]:
  """Yield a linear layer of some bands, number `index` of their modules."""
  weights = [f"{module}.{index}.weight" for module in modules]
  biases = [f"{module}.{index}.bias" for module in modules]
  yield _Leaf((*path, "kernel"), weights, (outputs, rows, 1), _POINTWISE)
  yield _Leaf((*path, "bias"), biases, (outputs,), _SAME)


def _block_leaves(config: SeparatorConfig) -> Iterator[_Leaf]:
  """Yield the parameters of the TF-Locoformer blocks."""
  dim, hidden, taps = config.embed_dim, config.ffn_dim, config.kernel_size
  entries = [
    ("attention_norm.gain", "attn_norm.gamma", (dim,), _SAME),
    ("attention.qkv_kernel", "attn.qkv.weight", (3 * dim, dim), _REVERSED),
    ("attention.out_kernel", "attn.aggregate_heads.0.weight", (dim, dim), _REVERSED),
  ]
  # The published models number the feed-forward network before the attention 1.
  for name, index in (("first", 1), ("last", 0)):
    ours, theirs = f"{name}_ffn", f"ffn.{index}"
    in_shape, out_shape = (2 * hidden, dim, taps), (hidden, dim, taps)
    entries += [
      (f"{name}_norm.gain", f"ffn_norm.{index}.gamma", (dim,), _SAME),
      (f"{ours}.in_kernel", f"{theirs}.conv1d.weight", in_shape, _REVERSED),
      (f"{ours}.in_bias", f"{theirs}.conv1d.bias", (2 * hidden,), _SAME),
      (f"{ours}.out_kernel", f"{theirs}.deconv1d.weight", out_shape, _FLIPPED),
      (f"{ours}.out_bias", f"{theirs}.deconv1d.bias", (dim,), _SAME),
    ]
  blocks = range(config.num_blocks)
  for path, module in (("frequency", "freq_path"), ("time", "frame_path")):
    for leaf, key, shape, layout in entries:
      keys = [f"blocks.{block}.{module}.{key}" for block in blocks]
      yield _Leaf(("blocks", path, *leaf.split(".")), keys, shape, layout)


def _without_prefix(content: Mapping[str, Any]) -> dict[str, Any]:
  """Return the weights of a state dict or a checkpoint, by key without prefix."""
  for name in _WRAPPERS:
    if isinstance(content.get(name), Mapping):
      content = content[name]
  weights: dict[str, Any] = {}
  for key, value in content.items():
    name = re.sub(r"^((module|_orig_mod|model)\.)*", "", str(key))
    if _IGNORED.fullmatch(name):
      continue
    if name in weights:
      raise UserError(f"{name} is in the state dict twice, with different prefixes")
    weights[name] = value
  return weights


def _shape_of(key: str, value: Any) -> tuple[int, ...]:
  if not hasattr(value, "shape"):
    raise UserError(f"{key}: expected a tensor, found {type(value).__name__}")
  return tuple(int(size) for size in value.shape)


def _check_keys(problem: str, keys: set[str]) -> None:
  """Raise a UserError that names some of the keys, if there are any."""
  if keys:
    listed = ", ".join(sorted(keys)[:_LISTED])
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    raise UserError(f"{problem} in the state dict: {listed}{more}")


def _float32(key: str, value: Any) -> np.ndarray:
  """Convert an array, or a tensor on any device, to finite float32 values."""
  if hasattr(value, "detach"):
    value = value.detach().cpu().float().numpy()
  array = np.asarray(value, np.float32)
  if not np.isfinite(array).all():
    raise UserError(f"{key} holds values that are not finite: the weights are damaged")
  return array
