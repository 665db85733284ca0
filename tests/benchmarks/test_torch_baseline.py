import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.baseline import model as baseline  # noqa: E402
from benchmarks.baseline import objectives  # noqa: E402
from benchmarks.baseline.config import SIZES, BaselineConfig  # noqa: E402


@pytest.fixture(scope="module")
def vectors(fixtures: Path):
  return dict(np.load(fixtures / "separator.npz"))


@pytest.fixture(scope="module")
def state_dict(fixtures: Path):
  spec = importlib.util.spec_from_file_location(
    "formula_weights", fixtures / "formula_weights.py"
  )
  formula_weights = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(formula_weights)
  shapes = json.loads((fixtures / "separator.json").read_text())["state_dict"]
  return {
    key: torch.tensor(formula_weights.formula_weight(key, tuple(shape))).float()
    for key, shape in shapes.items()
  }


def small_baseline(state_dict, **choices):
  """The model of the reference vectors."""
  config = BaselineConfig(2, 16, 24, 2, 2, 4, num_sources=3, **choices)
  network = baseline.Baseline(config).eval()
  network.load_state_dict(state_dict, strict=True)
  return network


def relative_error(found, expected) -> float:
  found = np.asarray(found)
  return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("grouped_bands", [True, False])
@pytest.mark.parametrize("fused_attention", [True, False])
def test_every_stage_equals_the_reference_vectors(
  vectors, state_dict, grouped_bands, fused_attention
):
  network = small_baseline(
    state_dict, grouped_bands=grouped_bands, fused_attention=fused_attention
  )
  masker = network.model.model
  found = {}

  def keep(name, function):
    def wrapped(*args):
      found[name] = function(*args)
      return found[name]

    return wrapped

  bands = masker.band_split_module
  bands.encode = keep("band_split", bands.encode)
  bands.decode = keep("mask", bands.decode)
  for index, block in enumerate(masker.blocks):
    block.forward = keep(f"block_{index}", block.forward)
  network.model.model.forward = keep("mask", masker.forward)
  with torch.no_grad():
    estimates, scale = network.model(torch.tensor(vectors["mixture"]))
  estimates = estimates * scale[:, None, :, None]

  assert relative_error(scale, vectors["scale"]) < 1e-5
  for name in ("band_split", "block_0", "block_1"):
    assert relative_error(found[name].permute(0, 3, 1, 2), vectors[name]) < 1e-5
  mask = found["mask"].transpose(-1, -2)
  assert relative_error(mask.real, vectors["mask_real"]) < 1e-5
  assert relative_error(mask.imag, vectors["mask_imag"]) < 1e-5
  assert relative_error(estimates, vectors["estimates"]) < 1e-4


@pytest.mark.parametrize(
  ("size", "num_sources", "parameters"),
  [
    ("small", 4, 29_544_552),
    ("small", 12, 54_800_552),
    ("medium", 4, 52_721_960),
    ("medium", 12, 86_374_760),
    ("large", 4, 117_018_152),
    ("large", 12, 167_464_552),
  ],
)
def test_sizes_have_the_parameters_of_the_paper(size, num_sources, parameters):
  config = dataclasses.replace(SIZES[size], num_sources=num_sources)
  with torch.device("meta"):
    network = baseline.Baseline(config)
  assert sum(p.numel() for p in network.parameters()) == parameters


def test_checkpointed_blocks_change_no_gradient(vectors, state_dict):
  references = torch.tensor(vectors["estimates"][..., :6000])
  gradients = []
  for checkpoint_blocks in (False, True):
    network = small_baseline(state_dict, checkpoint_blocks=checkpoint_blocks)
    objectives.stem_loss(network, references).backward()
    gradients.append([p.grad for p in network.parameters()])
  assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
  assert all(g.abs().max() > 0 for g in gradients[0])


def test_bfloat16_stays_close_to_float32(vectors, state_dict):
  mixture = torch.tensor(vectors["mixture"])
  network = small_baseline(state_dict, autocast=torch.bfloat16)
  with torch.no_grad():
    error = relative_error(network(mixture), vectors["estimates"])
  assert 1e-4 < error < 3e-2


def test_dropout_is_active_in_training_mode_only(vectors, state_dict):
  mixture = torch.tensor(vectors["mixture"][..., :6000])
  for fused_attention in (True, False):
    network = small_baseline(state_dict, dropout=0.1, fused_attention=fused_attention)
    with torch.no_grad():
      assert torch.equal(network(mixture), network(mixture))
      network.train()
      assert not torch.equal(network(mixture), network(mixture))


def test_losses_equal_the_reference_vectors(fixtures):
  vectors = {k: torch.tensor(v) for k, v in np.load(fixtures / "losses.npz").items()}
  estimates, mixtures = vectors["mixit_estimates"], vectors["mixit_mixtures"]
  # The vectors hold the assignment by the left channel alone.
  matrix = objectives.assign(estimates[:, :, :1], mixtures[:, :, :1])
  assert torch.equal(matrix, vectors["efficient_mix_matrix"])
  remixed = torch.einsum("bmn,bncl->bmcl", matrix, estimates)
  loss = objectives.snr_loss(mixtures, remixed).mean()
  assert abs(loss - vectors["efficient_loss"]) < 1e-4
  references, estimates = vectors["stem_references"], vectors["stem_estimates"]
  loss = objectives.inactive_snr_loss(references, estimates).mean(1)
  assert (loss - vectors["inactive_snr_loss"]).abs().max() < 1e-4
  loss = objectives.snr_loss(references[:1, :1], estimates[:1, :1])
  assert (loss - vectors["thresholded_snr_loss"]).abs().max() < 1e-4


def test_losses_reach_every_parameter(vectors, state_dict):
  mixtures = torch.tensor(vectors["estimates"][:, :2, :, :6000])
  network = small_baseline(state_dict)
  objectives.mixit_loss(network, mixtures).backward()
  assert all(p.grad.abs().max() > 0 for p in network.parameters())
