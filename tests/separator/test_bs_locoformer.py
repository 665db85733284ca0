"""The model against the reference vectors, and what it promises its users."""

import dataclasses
import json
import runpy
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mixit_jax.errors import UserError
from mixit_jax.separator import waveform
from mixit_jax.separator.bs_locoformer import (
  BandSplit,
  BSLocoformer,
  MaskDecoder,
  TFLocoformerBlock,
  types_in_use,
)
from mixit_jax.separator.compiled import fold
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.weights.torch_weights import from_torch

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


def noise(*shape):
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def relative_error(found, expected):
  return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def reference(fixtures):
  """The reference model: its configuration, weights and stages in our layouts."""
  facts = json.loads((fixtures / "separator.json").read_text())
  formula = runpy.run_path(str(fixtures / "formula_weights.py"))["formula_weight"]
  weights = {key: formula(key, shape) for key, shape in facts["state_dict"].items()}
  sizes = facts["config"]
  config, params = from_torch(
    weights,
    num_heads=sizes["n_heads"],
    num_groups=sizes["num_groups"],
    hop=facts["hop_length"],
    sample_rate=44100,
  )
  stages = dict(np.load(fixtures / "separator.npz"))
  spectrogram = stages["spectrogram_real"] + 1j * stages["spectrogram_imag"]
  return SimpleNamespace(
    config=config,
    params=params,
    mixture=stages["mixture"],
    scale=stages["scale"],
    spectrogram=spectrogram.transpose(0, 2, 3, 1),
    features=[
      stages[name].transpose(0, 2, 3, 1)
      for name in ("band_split", "block_0", "block_1")
    ],
    masks=stages["mask_real"] + 1j * stages["mask_imag"],
    estimates=stages["estimates"],
  )


def test_band_split_matches_reference(reference):
  split = BandSplit(reference.config)
  found = split.apply({"params": reference.params["band_split"]}, reference.spectrogram)
  assert relative_error(found, reference.features[0]) < 1e-5


def test_each_block_matches_reference(reference):
  block = TFLocoformerBlock(reference.config)
  apply = jax.jit(lambda params, x: block.apply({"params": params}, x, 0, None)[0])
  x, *expected = reference.features
  for index, features in enumerate(expected):
    params = jax.tree.map(lambda leaf, i=index: leaf[i], reference.params["blocks"])
    x = apply(params, x)
    assert relative_error(x, features) < 1e-5


@pytest.mark.parametrize("folded", [False, True])
def test_masks_match_reference(reference, folded):
  decoder = MaskDecoder(reference.config)
  params = fold(reference.params) if folded else reference.params
  assert folded == ("hidden" not in params["decoder"])
  found = decoder.apply({"params": params["decoder"]}, reference.features[-1])
  assert relative_error(found, reference.masks) < 1e-5


def test_level_and_estimates_match_reference(reference):
  config, mixture = reference.config, reference.mixture
  spectrogram, scale = waveform.analyze(config, mixture)
  assert relative_error(scale, reference.scale) < 1e-5
  assert relative_error(spectrogram, reference.spectrogram) < 1e-5
  separate = jax.jit(waveform.separate, static_argnums=0)
  estimates = separate(config, reference.params, mixture)
  assert relative_error(estimates, reference.estimates) < 1e-4


@pytest.mark.parametrize(
  ("size", "blocks", "with_4_outputs", "with_12_outputs"),
  [
    ("small", 5_021_440, 29_544_552, 54_800_552),
    ("medium", 14_959_104, 52_721_960, 86_374_760),
    ("large", 45_157_248, 117_018_152, 167_464_552),
  ],
)
def test_presets_have_the_paper_s_sizes(size, blocks, with_4_outputs, with_12_outputs):
  def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))

  for num_sources, total in ((4, with_4_outputs), (12, with_12_outputs)):
    config = SeparatorConfig.preset(size, num_sources=num_sources)
    params = jax.eval_shape(lambda c=config: waveform.init(c, jax.random.key(0)))
    assert set(params) == {"band_split", "blocks", "decoder"}
    assert count(params["blocks"]) == blocks
    assert count(params) == total


@pytest.fixture(scope="module")
def params():
  return jax.jit(lambda key: waveform.init(TINY, key))(jax.random.key(0))


def test_initial_weights_are_pytorch_s(params):
  dim, width = TINY.embed_dim, TINY.kernel_size * TINY.embed_dim
  bands = dict(enumerate((2, 4, 19)))
  fan_in = {
    "first_ffn": width,
    "last_ffn": width,
    "attention": dim,
    "expand": dim,
    "hidden": 4 * dim,
    **{f"mask_{run}": 4 * dim for run in bands},
    **{f"dense_{run}": 4 * count for run, count in bands.items()},
  }
  for path, leaf in jax.tree.leaves_with_path(params):
    *_, layer, kind = (part.key for part in path)
    if "norm" in layer:
      np.testing.assert_array_equal(leaf, kind == "gain")
      continue
    bound = fan_in[layer] ** -0.5
    largest = np.abs(leaf).max() / bound
    assert 1 - 15 / leaf.size < largest <= 1, path
    assert abs(leaf.mean()) < 2.5 * bound / np.sqrt(leaf.size), path


def test_blocks_start_from_different_weights(params):
  for leaf in jax.tree.leaves(params["blocks"]["time"]["attention"]):
    assert leaf.shape[0] == TINY.num_blocks
    assert not np.allclose(leaf[0], leaf[1])


@pytest.fixture(scope="module")
def separate():
  """Separation with and without dropout keys, compiled once for each shape."""
  config = dataclasses.replace(TINY, dropout=0.2, attention_dropout=0.2)
  return jax.jit(
    lambda params, mixture, keys=None: waveform.separate(config, params, mixture, keys)
  )


@pytest.mark.parametrize("length", [33, 400, 407])
def test_estimates_have_the_length_of_the_mixture(separate, params, length):
  estimates = separate(params, noise(2, 2, length))
  assert estimates.shape == (2, 3, 2, length)
  assert estimates.dtype == jnp.float32


def test_estimates_follow_the_level_of_each_channel(separate, params):
  mixture, gains = noise(2, 2, 400), np.array([100.0, 0.01], np.float32)
  estimates = separate(params, mixture)
  scaled = separate(params, mixture * gains[None, :, None])
  np.testing.assert_allclose(
    scaled, estimates * gains[None, None, :, None], rtol=1e-3, atol=1e-4
  )


def test_examples_do_not_influence_one_another(separate, params):
  mixture = noise(2, 2, 400)
  other = np.stack([mixture[0], 3 * mixture[1, ::-1]])
  found, expected = separate(params, other), separate(params, mixture)
  np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
  assert np.abs(found[1] - expected[1]).max() > 0.01


def test_silence_gives_silence_and_finite_gradients(params):
  mixture = np.zeros((1, 2, 400), np.float32)

  def loss(params):
    return waveform.separate(TINY, params, mixture).sum()

  value, gradient = jax.jit(jax.value_and_grad(loss))(params)
  assert value == 0
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_dropout_masks_follow_from_the_key_of_the_example(separate, params):
  mixture = np.repeat(noise(1, 2, 400), 2, 0)
  one, two, three = jax.random.split(jax.random.key(1), 3)
  first = separate(params, mixture, jnp.stack([one, two]))
  second = separate(params, mixture, jnp.stack([two, three]))
  np.testing.assert_allclose(first[1], second[0], rtol=1e-4, atol=1e-5)
  without = separate(params, mixture)
  for a, b in ((first[0], first[1]), (first[0], without[0]), (second[0], second[1])):
    assert relative_error(a, b) > 0.01


def test_batch_is_sharded_without_communication(params):
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  batch, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
  config = dataclasses.replace(TINY, dropout=0.2)
  mixture, keys = noise(8, 2, 200), jax.random.split(jax.random.key(0), 8)

  def separate(params, mixture, keys):
    return waveform.separate(config, params, mixture, keys)

  sharded = jax.jit(
    jax.shard_map(
      separate,
      mesh=mesh,
      in_specs=(P(), P("data"), P("data")),
      out_specs=P("data"),
      check_vma=False,
    ),
    in_shardings=(everywhere, batch, batch),
  )
  graph = sharded.lower(params, mixture, keys).compile().as_text()
  for operation in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
    assert operation not in graph
  np.testing.assert_allclose(
    sharded(params, mixture, keys),
    jax.jit(separate)(params, mixture, keys),
    rtol=1e-4,
    atol=1e-5,
  )


def test_mixtures_of_another_shape_are_refused(params):
  for shape in ((1, 1, 400), (2, 400)):
    with pytest.raises(ValueError, match="expected a mixture"):
      waveform.separate(TINY, params, jnp.zeros(shape))


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("num_blocks", 0),
    ("embed_dim", 8.5),
    ("num_sources", True),
    ("num_heads", 3),
    ("num_groups", 5),
    ("dropout", 1.0),
    ("attention_dropout", -0.1),
    ("dtype", "float16"),
    ("remat", "all"),
    ("attention", "flash"),
    ("n_fft", 63),
    ("n_fft", 8),
    ("bands", (2, 2)),
    ("attention", "cudnn"),
  ],
)
def test_invalid_values_are_named(key, value):
  with pytest.raises(UserError, match=rf"^model\.{key}\b"):
    dataclasses.replace(TINY, **{key: value})


def test_unknown_sizes_and_keys_are_named():
  with pytest.raises(UserError, match=r"^size: 'tiny' is not one of small, medium"):
    SeparatorConfig.preset("tiny")
  with pytest.raises(UserError, match="unknown separator keys: num_spk"):
    SeparatorConfig.preset("small", num_spk=4)


def test_fused_attention_is_taken_only_where_it_can_serve():
  config = SeparatorConfig.preset("medium", dtype="bfloat16")
  assert config.settled("cpu").attention == "xla"
  assert config.settled("tpu").attention == "pallas"
  assert config.settled("gpu").attention == "cudnn"
  for change in ({"dtype": "float32"}, {"attention_dropout": 0.1}, {"num_heads": 64}):
    other = dataclasses.replace(config, **change)
    assert other.settled("gpu").attention == "xla"
    with pytest.raises(UserError, match=r"^model\.attention: 'cudnn'"):
      dataclasses.replace(other, attention="cudnn")
  dropping = dataclasses.replace(config, attention_dropout=0.1)
  assert dropping.settled("tpu").attention == "xla"
  with pytest.raises(UserError, match=r"^model\.attention: 'pallas'"):
    dataclasses.replace(dropping, attention="pallas")


@pytest.mark.parametrize(
  ("platform", "dtype"), [("cpu", "float32"), ("gpu", "bfloat16"), ("tpu", "bfloat16")]
)
def test_the_type_of_the_computation_is_settled_by_the_platform(platform, dtype):
  config = dataclasses.replace(TINY, dtype="auto")
  assert config.settled(platform).dtype == dtype
  assert TINY.settled(platform).dtype == "float32"
  with pytest.raises(ValueError, match="settled"):
    BSLocoformer(config).init(jax.random.key(0), jnp.zeros((1, 2, 4, 33)))


def test_rounding_parameters_to_the_type_in_which_they_are_used_changes_no_bit():
  config = dataclasses.replace(TINY, dtype="bfloat16")
  params = waveform.init(config, jax.random.key(0))
  # No gain or bias is a number that bfloat16 has.
  params = jax.tree.map(lambda x: 1.001 * x + 1e-3, params)
  mixture = noise(1, 2, 200)

  @jax.jit
  @jax.value_and_grad
  def evaluate(params):
    return jnp.sum(jnp.abs(waveform.separate(config, params, mixture)))

  def rounded(types):
    return jax.tree.map(lambda x, t: x.astype(t).astype(x.dtype), params, types)

  types = types_in_use(config, params)
  found = jax.tree.leaves(evaluate(rounded(types)))
  expected = jax.tree.leaves(evaluate(params))
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_array_equal(one, other)
  # The types matter: all in bfloat16 is another model.
  everything = rounded(jax.tree.map(lambda _: "bfloat16", types))
  assert evaluate(everything)[0] != expected[0]
