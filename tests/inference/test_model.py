"""A model at work: precision, and how many chunks go together."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from training.tiny import MODEL

from mixit_jax.devices.mesh import local_mesh
from mixit_jax.errors import UserError
from mixit_jax.inference.batching import LARGEST_BATCH, automatic_batch, chunk_bytes
from mixit_jax.inference.model import Model
from mixit_jax.separator import compiled, init, separate
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.weights.folder import Weights

CHUNK = 12 * 44100
MEDIUM = SeparatorConfig.preset("medium", num_sources=4, dtype="bfloat16")


@pytest.fixture(scope="module")
def weights():
  config = dataclasses.replace(MODEL, dtype="auto", num_blocks=1)
  return Weights(config, jax.jit(lambda key: init(config, key))(jax.random.key(0)))


def batch_for(*stats):
  """The automatic batch on accelerators with so much memory in use and in all."""
  devices = [SimpleNamespace(platform="gpu", memory_stats=lambda s=s: s) for s in stats]
  mesh = SimpleNamespace(devices=np.array(devices))
  return automatic_batch(MEDIUM.settled("gpu"), CHUNK, mesh)


def test_a_cpu_takes_one_chunk_at_a_time():
  assert automatic_batch(MEDIUM, CHUNK, local_mesh()) == 1


def test_the_batch_follows_the_free_memory():
  one = chunk_bytes(dataclasses.replace(MEDIUM, attention="cudnn"), CHUNK)
  found = []
  for chunks in (0.5, 2, 3.9, 4, 8, 16, 1000):
    limit = int(chunks * one) + 2**30
    found.append(batch_for({"bytes_limit": limit, "bytes_in_use": 2**30}))
  assert found == [1, 1, 1, 2, 4, 8, LARGEST_BATCH]


def test_the_fullest_device_decides():
  full = {"bytes_limit": 2**36, "bytes_in_use": 2**36 - 2**20}
  assert batch_for({"bytes_limit": 2**36}, full) == 1


@pytest.mark.parametrize("stats", [None, {}, {"bytes_in_use": 5}])
def test_a_device_that_does_not_tell_its_memory_takes_one(stats):
  assert batch_for({"bytes_limit": 2**40}, stats) == 1


@pytest.mark.parametrize(("sources", "masks"), [(4, 0), (12, 0), (4, 12), (4, 60)])
def test_the_estimate_of_memory_covers_what_is_compiled(sources, masks):
  sizes = {"num_sources": sources, "num_masks": masks, "num_blocks": 1}
  config = SeparatorConfig.preset("small", **sizes, attention="xla")
  samples = 2 * 44100
  shape = jax.ShapeDtypeStruct((1, 2, samples), np.float32)
  params = jax.eval_shape(lambda: init(config, jax.random.key(0)))
  compiled = jax.jit(separate, static_argnums=0).lower(config, params, shape).compile()
  needed = compiled.memory_analysis().temp_size_in_bytes
  assert needed < chunk_bytes(config, samples) < 20 * needed


def test_a_given_batch_is_kept_and_an_automatic_one_fits_the_recording(
  weights, monkeypatch
):
  monkeypatch.setattr("mixit_jax.inference.model.automatic_batch", lambda *_: 8)
  devices = jax.local_device_count()
  given, automatic = Model(weights, batch=3), Model(weights)
  assert given.chunk_batch(1000, 1) == 3 * devices
  assert automatic.chunk_batch(1000) == 8 * devices
  for chunks, expected in ((1, 1), (devices, 1), (devices + 1, 2), (99 * devices, 8)):
    assert automatic.chunk_batch(1000, chunks) == expected * devices


def test_memory_that_runs_out_is_one_line(weights, monkeypatch):
  def fail(_):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating")

  model = Model(weights, chunk_seconds=1.0, hop_seconds=0.5, batch=2)
  monkeypatch.setattr(model, "separate_chunks", fail)
  with pytest.raises(UserError, match="not have enough memory for 16 chunks") as info:
    model.separate_mixture(np.ones((2, 9000), np.float32))
  assert "\n" not in str(info.value)


def test_precision_replaces_the_type_and_nothing_else(weights):
  assert Model(weights).weights is weights
  for precision in ("float32", "bfloat16"):
    model = Model(weights, precision=precision)
    assert model.config == dataclasses.replace(weights.config, dtype=precision)
    assert model.weights.params is weights.params
  fused = dataclasses.replace(MEDIUM, attention="cudnn")
  single = Model(Weights(fused, {}), precision="float32").config
  assert single.attention == "auto"  # cuDNN's has no float32
  with pytest.raises(UserError, match="'float16' is not one of float32, bfloat16"):
    Model(weights, precision="float16")


def test_precision_changes_the_estimates_a_little(weights):
  mixture = np.random.default_rng(0).standard_normal((2, 1500), np.float32)
  default, full, half = (
    Model(weights, precision=precision).separate_mixture(mixture)
    for precision in (None, "float32", "bfloat16")
  )
  np.testing.assert_array_equal(default, full)  # on a CPU
  error = np.linalg.norm(half - full) / np.linalg.norm(full)
  assert 1e-4 < error < 3e-2


@pytest.mark.parametrize(
  ("precision", "expected"), [(None, None), ("bfloat16", None), ("float32", "highest")]
)
def test_only_explicit_float32_asks_for_full_products(
  weights, monkeypatch, precision, expected
):
  asked = []

  def note(*_):
    asked.append(jax.config.jax_default_matmul_precision)
    return np.zeros((8, 6, 2, 1024), np.float32)

  monkeypatch.setattr(compiled, "_separate", note)
  model = Model(weights, precision=precision)
  model.separate_mixture(np.ones((2, 1000), np.float32))
  assert asked == [expected]


def test_full_products_reach_every_product_of_the_program(weights):
  def products(precision):
    config = dataclasses.replace(weights.config, dtype="float32")
    chunks = np.zeros((1, 2, 1024), np.float32)
    layout = NamedSharding(local_mesh(1), P())
    with jax.default_matmul_precision(precision):
      lowered = compiled._separate.lower(config, layout, weights.params, chunks)
    lines = lowered.as_text().splitlines()
    return [line for line in lines if "dot_general" in line or ".convolution(" in line]

  assert any("HIGHEST" not in line for line in products(None))
  assert products("highest")
  assert all(line.count("HIGHEST") == 2 for line in products("highest"))
