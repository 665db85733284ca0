"""The configuration behind a PyTorch state dict.

Most of it follows from shapes. Heads, groups, hop and sample rate leave no trace in the
shapes: they come from the caller, from the configuration file published beside the
weights, or from the paper's preset of the same width and depth.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mixit_jax.errors import UserError, missing_extra, one_line
from mixit_jax.separator.bands import PAPER_BANDS
from mixit_jax.separator.config import SeparatorConfig

# Other names of the fields: those of callers and those of configuration files.
# Fields whose flags have the names of the paper's code.
_FLAGS = {"num_heads": "n-heads", "num_groups": "n-groups"}
_ALIASES = {"n_heads": "num_heads", "n_groups": "num_groups"}
_FILE_NAMES = _ALIASES | {
  "num_heads": "num_heads",
  "num_groups": "num_groups",
  "n_fft": "n_fft",
  "hop_length": "hop",
  "hop_size": "hop",
  "fs": "sample_rate",
  "sample_rate": "sample_rate",
}
_PRESETS = ("small", "medium", "large")
_MOST_CHANNELS = 8

_GAMMA = "blocks.0.freq_path.attn_norm.gamma"
_DECONVOLUTION = "blocks.0.freq_path.ffn.0.deconv1d.weight"
_ENCODER_NORM = "band_split_module.band_split_module.{}.0.weight"
_DECODER_OUTPUT = "band_split_module.bandwise_decoding_module.{}.4.weight"


def infer_config(
  shapes: Mapping[str, tuple[int, ...]],
  merged_config: Mapping[str, Any] | str | Path | None,
  overrides: Mapping[str, Any],
) -> SeparatorConfig:
  """Work out the configuration of a model from its state dict.

  Args:
    shapes: PyTorch shape of every weight, keys without the `model.` prefixes.
    merged_config: content or path of the configuration published with the weights.
      Its layout is not known: it is searched at any depth for whole numbers named
      num_heads or n_heads, num_groups or n_groups, n_fft, hop_length or hop_size,
      and fs or sample_rate.
    overrides: fields of `SeparatorConfig`, or n_heads and n_groups. They win over
      everything but the shapes.

  Returns:
    the configuration.

  Raises:
    UserError: a weight is missing, a key is unknown, an override contradicts the
      shapes, or a field remains unknown; the message names it.
  """
  overrides = _checked_overrides(overrides)
  found = _Findings(merged_config)
  sizes = _sizes(shapes)
  sizes |= _bands_and_sources(shapes, overrides, found)
  for name, value in sizes.items():
    given = overrides.get(name, value)
    if (tuple(given) if name == "bands" else given) != value:
      raise UserError(f"{name}={given!r} contradicts the weights, which have {value}")
  fields = dict(sizes)
  for name in ("num_heads", "num_groups", "hop", "sample_rate"):
    if name not in overrides:
      fields[name] = found.get(name) or _from_preset(name, sizes)
  return SeparatorConfig(**(fields | overrides))


def read_merged_config(path: str | Path) -> Mapping[str, Any]:
  """Read a YAML configuration; tags that would create Python objects are ignored.

  Raises:
    UserError: PyYAML is not installed, or the file is missing or not a YAML mapping.
  """
  try:
    import yaml
  except ImportError as error:
    purpose = f"{path}: YAML files"
    raise UserError(missing_extra(error, "yaml", "torch", purpose)) from error

  class Loader(yaml.SafeLoader):
    """Loader of plain values only, whatever the tags say."""

  def plain(loader: Loader, node: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
      return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
      return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)

  Loader.add_constructor(None, plain)
  try:
    content = yaml.load(Path(path).read_text(), Loader)
  except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
    raise UserError(f"{path} is not a readable YAML file: {one_line(error)}") from error
  if not isinstance(content, Mapping):
    raise UserError(f"{path}: expected a YAML mapping, found {type(content).__name__}")
  return content


class _Findings:
  """Settings found anywhere in a configuration file."""

  def __init__(self, merged_config: Mapping[str, Any] | str | Path | None):
    self._values: dict[str, dict[int, str]] = {}
    if isinstance(merged_config, str | Path):
      merged_config = read_merged_config(merged_config)
    for place, key, value in _walk(merged_config or {}, ""):
      values = self._values.setdefault(_FILE_NAMES[key], {})
      values.setdefault(value, place)

  def get(self, name: str) -> int | None:
    """Return the value of a setting, or None if the file has none.

    Raises:
      UserError: the file gives it different values.
    """
    values = self._values.get(name, {})
    if len(values) > 1:
      listed = ", ".join(f"{place}={value}" for value, place in values.items())
      raise UserError(
        f"{name}: the configuration file gives different values ({listed});"
        f" pass {name}= explicitly"
      )
    return next(iter(values), None)


def _walk(node: Any, place: str) -> Iterator[tuple[str, str, int]]:
  """Yield place, key and value of every whole number with a known name."""
  if isinstance(node, list | tuple):
    for index, item in enumerate(node):
      yield from _walk(item, f"{place}{index}.")
  if isinstance(node, Mapping):
    for key, value in node.items():
      if key in _FILE_NAMES and isinstance(value, int) and not isinstance(value, bool):
        yield f"{place}{key}", key, value
      else:
        yield from _walk(value, f"{place}{key}.")


def _checked_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
  """Return the overrides under the names of `SeparatorConfig`."""
  known = {field.name for field in dataclasses.fields(SeparatorConfig)}
  renamed: dict[str, Any] = {}
  for key, value in overrides.items():
    name = _ALIASES.get(key, key)
    if name not in known:
      raise UserError(f"unknown separator key {key!r}; known: {', '.join(known)}")
    if name in renamed:
      raise UserError(f"{name} is given twice, also as {key}")
    renamed[name] = value
  return renamed


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
  """Infer the fields that follow from the shapes of the blocks."""
  (embed_dim,) = _shape(shapes, _GAMMA, 1)
  ffn_dim, _, kernel_size = _shape(shapes, _DECONVOLUTION, 3)
  return {
    "num_blocks": _count(shapes, r"blocks\.(\d+)\."),
    "embed_dim": embed_dim,
    "ffn_dim": ffn_dim,
    "kernel_size": kernel_size,
  }


def _bands_and_sources(
  shapes: Mapping[str, tuple[int, ...]], overrides: dict[str, Any], found: _Findings
) -> dict[str, Any]:
  """Infer the fields that follow from the shapes of band split and decoder.

  A band of b bins has 2 C b inputs and 4 N C b outputs before the gate, so that C
  follows only from the number of bins, n_fft / 2 + 1.
  """
  count = _count(shapes, r"band_split_module\.band_split_module\.(\d+)\.")
  inputs = [_shape(shapes, _ENCODER_NORM.format(k), 1)[0] for k in range(count)]
  outputs = [_shape(shapes, _DECODER_OUTPUT.format(k), 3)[0] for k in range(count)]
  num_sources = outputs[0] // (2 * inputs[0])
  for band, (rows, out) in enumerate(zip(inputs, outputs, strict=True)):
    if out != 2 * num_sources * rows or not num_sources:
      raise UserError(
        f"{_DECODER_OUTPUT.format(band)}: expected {2 * num_sources * rows} outputs"
        f" ({num_sources} sources as in band 0), found {out}"
      )
  if "num_channels" in overrides:
    candidates = [overrides["num_channels"]]
  else:
    candidates = list(range(1, _MOST_CHANNELS + 1))
  layouts = []
  n_fft = overrides.get("n_fft") or found.get("n_fft")
  for channels in candidates:
    if any(rows % (2 * channels) for rows in inputs):
      continue
    length = 2 * (sum(inputs) // (2 * channels) - 1)
    is_usual = length > 0 and length & (length - 1) == 0
    if length == n_fft or (n_fft is None and (is_usual or len(candidates) == 1)):
      bands = tuple(rows // (2 * channels) for rows in inputs)
      layouts.append((channels, length, bands))
  if len(layouts) != 1:
    raise UserError(
      f"num_channels: the {sum(inputs)} inputs of the band split fit"
      f" {'several numbers' if layouts else 'no number'} of channels"
      f" (num_channels={overrides.get('num_channels')}, n_fft={n_fft});"
      " pass the right num_channels= and n_fft= (--num-channels, --n-fft)"
    )
  channels, length, bands = layouts[0]
  return {
    "num_sources": num_sources,
    "num_channels": channels,
    "n_fft": length,
    "bands": bands,
  }


def _from_preset(name: str, sizes: dict[str, Any]) -> int:
  """Take a field that leaves no trace in the shapes from the paper's models."""
  if name in ("num_heads", "num_groups"):
    for size in _PRESETS:
      preset = SeparatorConfig.preset(size)
      if all(sizes[key] == getattr(preset, key) for key in ("embed_dim", "num_blocks")):
        return getattr(preset, name)
    reason = f"no preset has {sizes['num_blocks']} blocks of {sizes['embed_dim']}"
  else:
    if sizes["bands"] == PAPER_BANDS:
      return getattr(SeparatorConfig.preset("small"), name)
    reason = "the bands are not those of the paper"
  raise UserError(
    f"{name} cannot be inferred from the weights ({reason}): pass {name}= "
    f"(--{_FLAGS.get(name, name.replace('_', '-'))}) or the configuration file "
    "published with them (merged_config.yaml)"
  )


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
  """Return one more than the highest index in the keys that start with a pattern."""
  indices = (re.match(pattern, key) for key in shapes)
  return 1 + max((int(match[1]) for match in indices if match), default=-1)


def _shape(
  shapes: Mapping[str, tuple[int, ...]], key: str, ndim: int
) -> tuple[int, ...]:
  """Return the shape of a weight that every such model has."""
  if key not in shapes:
    raise UserError(f"{key} is missing: these are not the weights of a BS-Locoformer")
  if len(shapes[key]) != ndim:
    raise UserError(f"{key}: expected {ndim} axes, found shape {shapes[key]}")
  return shapes[key]
