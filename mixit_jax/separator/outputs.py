"""The outputs of a separator: their names, keeping some, and weighted sums of them.

Only the last layer of the decoder knows the outputs. Each mask has a gate of its own,
so that a sum of outputs is no single mask, but needs the masks of all of them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.separator.config import SeparatorConfig

# Name of the weights of the sums among the parameters of the decoder.
_WEIGHTS = "weights"


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
  indices = [int(index) for index in outputs]
  if not indices or len(set(indices)) < len(indices):
    raise UserError(f"outputs: {indices} must name different outputs, at least one")
  for index in indices:
    if not 0 <= index < config.num_sources:
      raise UserError(
        f"outputs: {index} does not exist; there are outputs 0 to"
        f" {config.num_sources - 1}"
      )
  if config.num_masks:
    return sum_outputs(params, config, np.eye(config.num_sources)[indices])
  decoder = {
    name: _selected(layer, config, indices) if name.startswith("mask_") else layer
    for name, layer in params["decoder"].items()
  }
  smaller = dataclasses.replace(config, num_sources=len(indices))
  return smaller, {**params, "decoder": decoder}


def sum_outputs(
  params: Mapping[str, Any], config: SeparatorConfig, weights: np.ndarray
) -> tuple[SeparatorConfig, dict[str, Any]]:
  """Make each new output a weighted sum of all outputs.

  Args:
    params: parameters of the separator with N outputs.
    config: its configuration.
    weights: of the outputs in each sum, for every band or for all, [S, N, K] or
      [S, N].

  Returns:
    configuration with S sources and as many masks as before, and parameters that give
    the sums over n of weights[s, n] estimates[:, n] in each band.
  """
  masks, bands = config.num_masks or config.num_sources, len(config.bands)
  before = params["decoder"].get(_WEIGHTS)
  if before is None:
    before = np.repeat(np.eye(masks)[..., None], bands, 2)
  weights = np.asarray(weights, np.float64)
  if weights.ndim == 2:
    weights = np.repeat(weights[..., None], bands, 2)
  summed = np.einsum("snk,nmk->smk", weights, np.asarray(before, np.float64))
  decoder = {**params["decoder"], _WEIGHTS: summed.astype(np.float32)}
  changed = dataclasses.replace(config, num_sources=len(summed), num_masks=masks)
  return changed, {**params, "decoder": decoder}


def _selected(
  layer: Mapping[str, Any], config: SeparatorConfig, indices: list[int]
) -> dict[str, Any]:
  """Keep some outputs of a layer whose last axis is (gate, re/im, N, C, bin)."""
  kept = {}
  for name, array in layer.items():
    parts = (2, 2, config.num_sources, config.num_channels, -1)
    split = array.reshape(*array.shape[:-1], *parts)
    kept[name] = split[..., indices, :, :].reshape(*array.shape[:-1], -1)
  return kept
