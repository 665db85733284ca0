"""The outputs of a separator: their names, and keeping or adding some of them.

Only the last layer of the decoder knows the outputs. Each has a gate of its own, so
that a sum of outputs needs a mask for each of them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.separator.config import SeparatorConfig


def output_names(num_sources: int) -> tuple[str, ...]:
  """Name the outputs of a pre-trained separator, which are not stems."""
  return tuple(f"output_{n:02d}" for n in range(num_sources))


def select_outputs(
  params: Mapping[str, Any], config: SeparatorConfig, outputs: Sequence[int]
) -> tuple[SeparatorConfig, dict[str, Any]]:
  """Keep the given outputs of a separator (paper section 4.3).

  Args:
    params: parameters of the separator.
    config: its configuration.
    outputs: outputs to keep, in their new order.

  Returns:
    configuration with that many sources, and parameters that give the estimates
    [B, N, C, L][:, outputs] of the given ones.

  Raises:
    UserError: no output is given, or one does not exist or is given twice.
  """
  groups = [[output] for output in outputs]
  return group_outputs(params, config, groups, config.masks_per_output)


def group_outputs(
  params: Mapping[str, Any],
  config: SeparatorConfig,
  groups: Sequence[Sequence[int]],
  masks: int,
) -> tuple[SeparatorConfig, dict[str, Any]]:
  """Make an output of each group of outputs: their sum.

  Args:
    params: parameters of the separator.
    config: its configuration.
    groups: outputs of each group; none is in two of them.
    masks: masks of each new output, which takes those of its group. Those that a
      smaller group does not need are zero, and learn.

  Returns:
    configuration with a source for each group, and parameters that give the sums over
    the groups of the estimates [B, N, C, L] of the given ones.

  Raises:
    UserError: a group is empty or has more masks than `masks`, or an output does not
      exist or is given twice.
  """
  indices = [[int(output) for output in group] for group in groups]
  _check(indices, config, masks)
  # Of every new mask, the one that it comes from; the one after the last is zero.
  each = config.masks_per_output
  sources = np.full((len(indices), masks), config.num_sources * each)
  for row, group in zip(sources, indices, strict=True):
    row[: len(group) * each] = [
      n * each + place for n in group for place in range(each)
    ]
  decoder = {
    name: _gathered(layer, config, sources) if name.startswith("mask_") else layer
    for name, layer in params["decoder"].items()
  }
  grouped = dataclasses.replace(config, num_sources=len(groups), masks_per_output=masks)
  return grouped, {**params, "decoder": decoder}


def _check(groups: list[list[int]], config: SeparatorConfig, masks: int) -> None:
  """Raise a UserError unless the groups can become outputs."""
  indices = [output for group in groups for output in group]
  if not indices or not all(groups) or len(set(indices)) < len(indices):
    raise UserError(f"outputs: {indices} must name different outputs, at least one")
  for index in indices:
    if not 0 <= index < config.num_sources:
      raise UserError(
        f"outputs: {index} does not exist; there are outputs 0 to"
        f" {config.num_sources - 1}"
      )
  needed = config.masks_per_output * max(map(len, groups))
  if needed > masks:
    raise UserError(f"outputs: a sum needs {needed} masks, but an output has {masks}")


def _gathered(
  layer: Mapping[str, Any], config: SeparatorConfig, sources: np.ndarray
) -> dict[str, Any]:
  """Gather the masks of a layer whose last axis is (gate, re/im, mask, C, bin)."""
  gathered = {}
  for name, array in layer.items():
    count = config.num_sources * config.masks_per_output
    parts = (2, 2, count, config.num_channels, -1)
    split = np.asarray(array).reshape(*array.shape[:-1], *parts)
    padding = [(0, 0)] * split.ndim
    padding[-3] = (0, 1)
    masks = np.pad(split, padding)[..., sources, :, :]
    gathered[name] = masks.reshape(*array.shape[:-1], -1)
  return gathered
