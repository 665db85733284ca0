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
    params: parameters of the separator, with one mask per output.
    config: its configuration.
    outputs: outputs to keep, in their new order.

  Returns:
    configuration with that many sources, and parameters that give the estimates
    [B, N, C, L][:, outputs] of the given ones.

  Raises:
    UserError: no output is given, or one does not exist or is given twice.
  """
  return group_outputs(params, config, [[output] for output in outputs])


def group_outputs(
  params: Mapping[str, Any],
  config: SeparatorConfig,
  groups: Sequence[Sequence[int]],
  masks: int = 1,
) -> tuple[SeparatorConfig, dict[str, Any]]:
  """Make an output of each group of outputs: their sum.

  Args:
    params: parameters of the separator, with one mask per output.
    config: its configuration.
    groups: outputs of each group; none is in two of them.
    masks: masks of each new output. Those that a smaller group does not need are zero,
      and learn.

  Returns:
    configuration with a source for each group, and parameters that give the sums over
    the groups of the estimates [B, N, C, L] of the given ones.

  Raises:
    UserError: a group is empty or larger than `masks`, or an output does not exist or
      is given twice, or has several masks.
  """
  indices = [[int(output) for output in group] for group in groups]
  _check(indices, config, masks)
  # Of every new mask, the output that it comes from; the one after the last is zero.
  sources = np.full((len(indices), masks), config.num_sources)
  for row, group in zip(sources, indices, strict=True):
    row[: len(group)] = group
  decoder = {
    name: _gathered(layer, config, sources) if name.startswith("mask_") else layer
    for name, layer in params["decoder"].items()
  }
  grouped = dataclasses.replace(config, num_sources=len(groups), masks_per_output=masks)
  return grouped, {**params, "decoder": decoder}


def _check(groups: list[list[int]], config: SeparatorConfig, masks: int) -> None:
  """Raise a UserError unless the groups can become outputs."""
  if config.masks_per_output > 1:
    raise UserError(
      f"outputs: each has {config.masks_per_output} masks "
      "(model.masks_per_output); they can be neither selected nor added"
    )
  indices = [output for group in groups for output in group]
  if not indices or not all(groups) or len(set(indices)) < len(indices):
    shown = indices if masks == 1 else groups
    raise UserError(f"outputs: {shown} must name different outputs, at least one")
  for index in indices:
    if not 0 <= index < config.num_sources:
      raise UserError(
        f"outputs: {index} does not exist; there are outputs 0 to"
        f" {config.num_sources - 1}"
      )
  most = max(map(len, groups))
  if most > masks:
    raise UserError(f"outputs: {most} are added, but an output has {masks} masks")


def _gathered(
  layer: Mapping[str, Any], config: SeparatorConfig, sources: np.ndarray
) -> dict[str, Any]:
  """Gather the masks of a layer whose last axis is (gate, re/im, N, C, bin)."""
  gathered = {}
  for name, array in layer.items():
    parts = (2, 2, config.num_sources, config.num_channels, -1)
    split = np.asarray(array).reshape(*array.shape[:-1], *parts)
    padding = [(0, 0)] * split.ndim
    padding[-3] = (0, 1)
    masks = np.pad(split, padding)[..., sources, :, :]
    gathered[name] = masks.reshape(*array.shape[:-1], -1)
  return gathered
