"""Weights of the published format, into our parameters and back."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.separator import init, separate
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.weights.torch_weights import from_torch, to_torch

HEADS = {"n_heads": 2, "n_groups": 2}
TINY = SeparatorConfig(
  num_blocks=2,
  embed_dim=8,
  ffn_dim=6,
  num_heads=2,
  num_groups=4,
  kernel_size=3,
  num_sources=3,
  sample_rate=8000,
  n_fft=64,
  hop=16,
  bands=(2, 2, 3, 2, 4, 20),
)
# What the shapes of TINY do not tell.
REST = {"num_heads": 2, "num_groups": 4, "sample_rate": 8000, "hop": 16}


@pytest.fixture(scope="module")
def published(fixtures: Path) -> dict[str, np.ndarray]:
  """The state dict of the reference vectors."""
  spec = importlib.util.spec_from_file_location("f", fixtures / "formula_weights.py")
  formula = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(formula)
  shapes = json.loads((fixtures / "separator.json").read_text())["state_dict"]
  return {
    key: formula.formula_weight(key, tuple(shape)).astype(np.float32)
    for key, shape in shapes.items()
  }


def random_params(config: SeparatorConfig):
  shapes = jax.eval_shape(lambda: init(config, jax.random.key(0)))
  draw = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: draw.standard_normal(leaf.shape).astype(np.float32), shapes
  )


@pytest.fixture(scope="module")
def tiny() -> dict[str, np.ndarray]:
  return to_torch(TINY, random_params(TINY))


def assert_equal_trees(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_published_weights_survive_the_round_trip_to_the_bit(published):
  back = to_torch(*from_torch(published, **HEADS))
  assert back.keys() == published.keys()
  for key, array in published.items():
    assert back[key].dtype == np.float32
    np.testing.assert_array_equal(back[key], array, err_msg=key, strict=True)


def test_our_parameters_survive_the_round_trip_to_the_bit(tiny):
  config, params = from_torch(tiny, **REST)
  assert config == TINY
  assert_equal_trees(params, random_params(TINY))


def test_published_weights_give_the_published_estimates(published, fixtures):
  vectors = np.load(fixtures / "separator.npz")
  config, params = from_torch(published, num_heads=2, num_groups=2)
  found = jax.jit(separate, static_argnums=0)(config, params, vectors["mixture"])
  error = np.linalg.norm(found - vectors["estimates"])
  assert error / np.linalg.norm(vectors["estimates"]) < 1e-4


def test_configuration_follows_from_shapes(published):
  config, _ = from_torch(published, **HEADS, dtype="bfloat16", dropout=0.1)
  assert config == SeparatorConfig(
    num_blocks=2,
    embed_dim=16,
    ffn_dim=24,
    num_heads=2,
    num_groups=2,
    kernel_size=4,
    num_sources=3,
    dtype="bfloat16",
    dropout=0.1,
  )


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_paper_models_need_no_help(size):
  # One block and band have the shapes of all the others: no need for real arrays.
  config = SeparatorConfig.preset(size, num_sources=12)
  assert infer(config) == config


def infer(config: SeparatorConfig, **overrides) -> SeparatorConfig:
  """Configuration inferred from the shapes of a model alone."""
  from mixit_jax.weights.torch_config import infer_config

  dim, rows = config.embed_dim, 2 * config.num_channels
  split = "band_split_module.band_split_module"
  decode = "band_split_module.bandwise_decoding_module"
  shapes = {f"blocks.{b}.x": (1,) for b in range(config.num_blocks)}
  shapes["blocks.0.freq_path.attn_norm.gamma"] = (dim,)
  ffn = "blocks.0.freq_path.ffn.0.deconv1d.weight"
  shapes[ffn] = (config.ffn_dim, dim, config.kernel_size)
  for band, width in enumerate(config.bands):
    outputs = 2 * config.num_sources * rows * width
    shapes[f"{split}.{band}.0.weight"] = (rows * width,)
    shapes[f"{decode}.{band}.4.weight"] = (outputs, 4 * dim, 1)
  return infer_config(shapes, None, overrides)


def test_channels_and_sources_are_told_apart():
  for channels, sources in ((1, 4), (2, 2), (1, 2), (2, 4), (1, 1)):
    config = SeparatorConfig.preset("small", num_channels=channels, num_sources=sources)
    assert infer(config) == config


def test_channels_need_help_where_the_fft_is_unusual():
  config = SeparatorConfig.preset("small", n_fft=96, hop=24, bands=(9, 40))
  rest = {"hop": 24, "sample_rate": 44100}
  with pytest.raises(UserError, match="num_channels"):
    infer(config, **rest)
  assert infer(config, **rest, num_channels=2) == config
  assert infer(config, **rest, n_fft=96) == config
  with pytest.raises(UserError, match="num_channels"):
    infer(config, **rest, num_channels=3)


@pytest.mark.parametrize("name", ["num_heads", "num_groups", "hop", "sample_rate"])
def test_what_cannot_be_told_is_named(tiny, name):
  rest = {key: value for key, value in REST.items() if key != name}
  with pytest.raises(UserError, match=rf"^{name} cannot be inferred"):
    from_torch(tiny, **rest)


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ({"num_sources": 5}, "num_sources=5 contradicts the weights, which have 3"),
    ({"bands": (2, 31)}, "bands=.* contradicts"),
    ({"n_fft": 128}, "num_channels: .* no number of channels"),
    ({"n_head": 2}, "unknown separator key 'n_head'"),
    ({"n_heads": 2}, "num_heads is given twice"),
    ({"num_heads": 3}, "num_heads: 3 does not divide"),
  ],
)
def test_wrong_overrides_are_refused(tiny, override, message):
  with pytest.raises(UserError, match=message):
    from_torch(tiny, **(REST | override))


def test_prefixes_checkpoints_and_windows_change_nothing(tiny):
  _, expected = from_torch(tiny, **REST)
  windows = {
    "model.stft.0.window": np.ones(64),
    "model.istft.window": np.ones(64),
    "stft.0.window": np.ones(64),
  }
  bare = {key.removeprefix("model.model."): value for key, value in tiny.items()}
  once = {key.removeprefix("model."): value for key, value in tiny.items()}
  checkpoint = {"epoch": 3, "state_dict": tiny | windows, "optimizer_states": [{}]}
  for content in (bare, once, tiny | windows, checkpoint):
    assert_equal_trees(from_torch(content, **REST)[1], expected)


def test_the_same_weight_twice_is_refused(tiny):
  key = next(iter(tiny))
  twice = tiny | {key.removeprefix("model."): tiny[key]}
  with pytest.raises(UserError, match="twice"):
    from_torch(twice, **REST)


def test_wrong_state_dicts_are_refused_by_key(tiny):
  key = "model.model.blocks.1.frame_path.ffn.0.conv1d.bias"
  name = key.removeprefix("model.model.")
  missing = {k: v for k, v in tiny.items() if k != key}
  with pytest.raises(UserError, match=f"missing weights in the state dict: {name}$"):
    from_torch(missing, **REST)
  with pytest.raises(UserError, match=r"unknown entries .*: head\.weight$"):
    from_torch(tiny | {"head.weight": np.ones(2)}, **REST)
  with pytest.raises(UserError, match=rf"{name}: expected shape \(12,\), found \(7,\)"):
    from_torch(tiny | {key: np.ones(7)}, **REST)
  with pytest.raises(UserError, match=f"{name} holds values that are not finite"):
    from_torch(tiny | {key: np.full(12, np.nan)}, **REST)
  with pytest.raises(UserError, match=f"{name}: expected a tensor, found dict"):
    from_torch(tiny | {key: {}}, **REST)
  with pytest.raises(UserError, match="not the weights of a BS-Locoformer"):
    from_torch({"fc.weight": np.ones((2, 2))})


def test_a_missing_band_or_block_is_named(tiny):
  block = {k: v for k, v in tiny.items() if ".blocks.0." not in k}
  with pytest.raises(UserError, match=r"blocks\.0\..* is missing"):
    from_torch(block, **REST)
  band = {k: v for k, v in tiny.items() if "decoding_module.3." not in k}
  with pytest.raises(UserError, match=r"bandwise_decoding_module\.3\..* is missing"):
    from_torch(band, **REST)


def test_uneven_outputs_are_refused(tiny):
  key = "model.model.band_split_module.bandwise_decoding_module.2.4.weight"
  with pytest.raises(UserError, match=r"decoding_module\.2\.4\.weight: expected 72"):
    from_torch(tiny | {key: np.ones((80, 32, 1))}, **REST)


def test_configuration_file_fills_the_gaps_at_any_depth(tiny, tmp_path):
  content = {
    "model": {"separator": [{"n_heads": 2, "num_groups": 4, "eps": 1e-5}]},
    "feature": {"n_fft": 64, "hop_length": 16},
    "dataset": {"train": {"fs": 8000, "shuffle": True}, "valid": {"fs": 8000}},
  }
  assert from_torch(tiny, merged_config=content)[0] == TINY
  path = tmp_path / "merged_config.yaml"
  lines = [
    "model: !!python/object/new:some.Model",
    "  n_heads: 2",
    "  sizes: !!python/tuple [1, 2]",
    "  num_groups: 4",
    "stft: {n_fft: 64, hop_length: 16}",
    "fs: 8000",
  ]
  path.write_text("\n".join(lines))
  pytest.importorskip("yaml")
  assert from_torch(tiny, merged_config=path)[0] == TINY
  overridden, _ = from_torch(tiny, merged_config=str(path), n_heads=4)
  assert overridden.num_heads == 4


def test_ambiguous_configuration_file_is_refused_only_where_it_matters(tiny):
  content = {"encoder": {"n_heads": 2}, "probe": {"n_heads": 4}}
  with pytest.raises(UserError, match=r"encoder\.n_heads=2, probe\.n_heads=4"):
    from_torch(tiny, merged_config=content, num_groups=4, hop=16, sample_rate=8000)
  assert from_torch(tiny, merged_config=content, **REST)[0] == TINY


def test_unreadable_configuration_file_is_named(tiny, tmp_path):
  pytest.importorskip("yaml")
  path = tmp_path / "merged_config.yaml"
  for text in ("a: [1", "- 1\n- 2\n", "text"):
    path.write_text(text)
    with pytest.raises(UserError, match=r"merged_config\.yaml"):
      from_torch(tiny, merged_config=path)
  with pytest.raises(UserError, match=r"none\.yaml"):
    from_torch(tiny, merged_config=tmp_path / "none.yaml")


def test_torch_tensors_of_any_type_are_taken(tiny):
  torch = pytest.importorskip("torch")
  for dtype in (torch.float64, torch.bfloat16):
    tensors = {
      key: torch.nn.Parameter(torch.tensor(array, dtype=dtype))
      for key, array in tiny.items()
    }
    rounded = {key: p.detach().float().numpy() for key, p in tensors.items()}
    assert_equal_trees(from_torch(tensors, **REST)[1], from_torch(rounded, **REST)[1])


def test_parameters_of_another_configuration_are_refused():
  params = random_params(TINY)
  with pytest.raises(UserError, match=r"blocks/.*: expected 3 rows, found 2"):
    to_torch(SeparatorConfig(**(vars(TINY) | {"num_blocks": 3})), params)
  with pytest.raises(UserError, match=r"decoder/mask_0/kernel: .* the shape"):
    to_torch(SeparatorConfig(**(vars(TINY) | {"num_sources": 2})), params)
  del params["decoder"]["hidden"]
  with pytest.raises(UserError, match="no decoder/hidden/kernel"):
    to_torch(TINY, params)


def test_sums_of_masks_have_no_place_in_the_published_format():
  config = SeparatorConfig(**(vars(TINY) | {"num_masks": 6}))
  with pytest.raises(UserError, match=r"6 masks \(model\.num_masks\)"):
    to_torch(config, random_params(config))


def test_weights_are_read_without_torch():
  code = (
    "import sys; import mixit_jax.weights.torch_weights, "
    "mixit_jax.weights.torch_files; sys.exit('torch' in sys.modules)"
  )
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
