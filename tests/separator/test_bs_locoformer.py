"""The model against the reference vectors, and its promises on shapes and modes."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.audio.spectral import stft
from mixit_jax.errors import UserError
from mixit_jax.separator.bands import band_runs
from mixit_jax.separator.bs_locoformer import (
  BandSplit,
  MaskDecoder,
  Separator,
  SeparatorConfig,
)
from mixit_jax.separator.layers import TFLocoformerBlock

TINY = SeparatorConfig(
  num_blocks=2,
  embed_dim=8,
  ffn_dim=6,
  num_heads=2,
  num_groups=2,
  kernel_size=3,
  num_sources=3,
  n_fft=64,
  hop=16,
  bands=(2, 2, 2, 4, 4, 19),
)


class Reference:
  """Weights and stages of the reference model."""

  def __init__(self, folder: Path):
    facts = json.loads((folder / "separator.json").read_text())
    spec = importlib.util.spec_from_file_location("f", folder / "formula_weights.py")
    formula = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formula)
    self._weights = {
      key: formula.formula_weight(key, tuple(shape)).astype(np.float32)
      for key, shape in facts["state_dict"].items()
    }
    self.stages = dict(np.load(folder / "separator.npz"))
    sizes = facts["config"]
    self.config = SeparatorConfig(
      num_blocks=sizes["n_layers"],
      embed_dim=sizes["emb_dim"],
      ffn_dim=sizes["ffn_hidden_dim"][0],
      num_heads=sizes["n_heads"],
      num_groups=sizes["num_groups"],
      kernel_size=sizes["conv1d_kernel"],
      num_sources=facts["num_sources"],
      num_channels=facts["num_channels"],
      n_fft=facts["n_fft"],
      hop=facts["hop_length"],
    )

  def params(self):
    blocks = [self.block(index) for index in range(self.config.num_blocks)]
    return {
      "band_split": self.band_split(),
      "blocks": jax.tree.map(lambda *leaves: np.stack(leaves), *blocks),
      "decoder": self.decoder(),
    }

  def _bands(self, module: str, first: int, count: int, layer: int):
    prefix = f"model.model.band_split_module.{module}"
    weights, biases = (
      np.stack(
        [
          self._weights[f"{prefix}.{band}.{layer}.{kind}"]
          for band in range(first, first + count)
        ]
      )
      for kind in ("weight", "bias")
    )
    if weights.ndim == 2:
      return {"gain": weights, "bias": biases}
    return {"kernel": np.swapaxes(weights[..., 0], 1, 2), "bias": biases}

  def band_split(self):
    params, first = {}, 0
    for index, (count, _) in enumerate(band_runs(self.config.bands)):
      for layer, name in enumerate(("norm", "dense")):
        params[f"{name}_{index}"] = self._bands(
          "band_split_module", first, count, layer
        )
      first += count
    return params

  def decoder(self):
    module = "bandwise_decoding_module"
    total = len(self.config.bands)
    params = {
      name: self._bands(module, 0, total, layer)
      for layer, name in enumerate(("norm", "expand", "hidden"))
    }
    first = 0
    for index, (count, _) in enumerate(band_runs(self.config.bands)):
      params[f"mask_{index}"] = self._bands(module, first, count, 4)
      first += count
    return params

  def block(self, index: int):
    return {
      name: self._path(f"model.model.blocks.{index}.{old}")
      for name, old in (("frequency", "freq_path"), ("time", "frame_path"))
    }

  def _path(self, prefix: str):
    w = self._weights
    params = {
      "attention_norm": {"gain": w[f"{prefix}.attn_norm.gamma"]},
      "attention": {
        "qkv_kernel": w[f"{prefix}.attn.qkv.weight"].T,
        "out_kernel": w[f"{prefix}.attn.aggregate_heads.0.weight"].T,
      },
    }
    for name, index in (("first", 1), ("last", 0)):
      ffn = f"{prefix}.ffn.{index}"
      params[f"{name}_norm"] = {"gain": w[f"{prefix}.ffn_norm.{index}.gamma"]}
      params[f"{name}_ffn"] = {
        "in_kernel": w[f"{ffn}.conv1d.weight"].transpose(2, 1, 0),
        "in_bias": w[f"{ffn}.conv1d.bias"],
        "out_kernel": w[f"{ffn}.deconv1d.weight"].transpose(2, 0, 1)[::-1],
        "out_bias": w[f"{ffn}.deconv1d.bias"],
      }
    return params


@pytest.fixture(scope="module")
def reference(fixtures):
  return Reference(fixtures)


def relative_error(found, expected):
  return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def features(stage):
  """From [B, D, T, K] to [B, T, K, D]."""
  return stage.transpose(0, 2, 3, 1)


def spectrogram(stages):
  """From [B, F, C, T] to [B, C, T, F]."""
  complex_ = stages["spectrogram_real"] + 1j * stages["spectrogram_imag"]
  return complex_.transpose(0, 2, 3, 1)


def test_band_split_matches_reference(reference):
  found = BandSplit(reference.config).apply(
    {"params": reference.band_split()}, spectrogram(reference.stages)
  )
  assert relative_error(found, features(reference.stages["band_split"])) < 1e-5


def test_each_block_matches_reference(reference):
  block = TFLocoformerBlock(reference.config.locoformer_settings())
  apply = jax.jit(lambda params, x: block.apply({"params": params}, x, 0, None)[0])
  x = features(reference.stages["band_split"])
  for index in range(reference.config.num_blocks):
    expected = features(reference.stages[f"block_{index}"])
    x = apply(reference.block(index), x)
    assert relative_error(x, expected) < 1e-5


def test_masks_match_reference(reference):
  masks = MaskDecoder(reference.config).apply(
    {"params": reference.decoder()}, features(reference.stages["block_1"])
  )
  expected = reference.stages["mask_real"] + 1j * reference.stages["mask_imag"]
  assert relative_error(masks, expected) < 1e-5


def test_estimates_match_reference(reference):
  stages = reference.stages
  separator = Separator(reference.config)

  @jax.jit
  def separate(params, mixture):
    return separator.apply({"params": params}, mixture, method="separate_normalized")

  estimates, scale = separate(reference.params(), stages["mixture"])
  assert relative_error(scale, stages["scale"]) < 1e-5
  estimates = estimates * scale[:, None, :, None]
  assert relative_error(estimates, stages["estimates"]) < 1e-4
