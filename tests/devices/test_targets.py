import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from mixit_jax.devices import gpus, memory, targets
from mixit_jax.devices.targets import describe
from mixit_jax.errors import UserError


@pytest.fixture
def tpu_compiler():
  """Skips a test where XLA's compiler for TPUs is not installed."""
  try:
    targets._libtpu()
  except UserError as error:
    pytest.skip(str(error))


@pytest.mark.parametrize(
  ("name", "kind", "devices"),
  [
    ("v5e", "TPU v5 lite", 1),
    ("v5e:2", "TPU v5 lite", 2),
    ("v5e:8", "TPU v5 lite", 8),
    ("V5E:4x4", "TPU v5 lite", 16),
    ("v6e:2x4", "TPU v6 lite", 8),
    ("v5p:8", "TPU v5", 8),
    ("v4:2x2x1", "TPU v4", 4),
    ("tpu7x:2x2x1", "TPU7x", 8),  # two for each chip
  ],
)
def test_tpus_are_described_without_one(tpu_compiler, name, kind, devices):
  target = describe(name)
  assert len(target.devices) == devices
  assert {device.device_kind for device in target.devices} == {kind}
  assert target.memory > 2**32


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("v9:2", "known kinds are v2, "),
    ("", "known kinds"),
    ("v5e:0", "a shape or a number of chips"),
    ("v5e:4x", "a shape or a number of chips"),
    ("h100:x", "a shape or a number of chips"),
    ("v5e:2x2x1", "have 2 dimensions"),
    ("v5p:2x2", "have 3 dimensions"),
  ],
)
def test_what_does_not_exist_is_refused_in_words(name, words):
  with pytest.raises(UserError, match=words):
    describe(name)


@pytest.mark.parametrize(
  ("chips", "dimensions", "sides"),
  [
    (1, 2, (1, 1)),
    (4, 2, (2, 2)),
    (8, 2, (2, 4)),
    (16, 2, (4, 4)),
    (128, 2, (8, 16)),
    (4, 3, (2, 2, 1)),
    (8, 3, (2, 2, 2)),
    (64, 3, (4, 4, 4)),
  ],
)
def test_a_number_of_chips_becomes_the_slice_that_is_sold(chips, dimensions, sides):
  assert targets._slice(chips, dimensions) == sides


def test_a_missing_compiler_is_named_with_the_command_that_brings_it(
  monkeypatch, tmp_path
):
  monkeypatch.setenv("TPU_LIBRARY_PATH", str(tmp_path / "libtpu.so"))
  with pytest.raises(UserError, match=r"make tpu-compiler.*libtpu==") as error:
    describe("v5e:2x2")
  assert str(tmp_path) in str(error.value)
  monkeypatch.setattr(targets, "_GPU_PLUGINS", ("no_such_package",))
  with pytest.raises(UserError, match="the extra cuda12"):
    describe("h100")


def test_the_pool_of_a_gpu_is_what_jax_takes_of_it():
  assert gpus.pool(gpus.GPUS["h100"]) / 2**30 == pytest.approx(59.3, abs=0.05)
  assert gpus.pool(gpus.GPUS["rtx4090"]) < 18 * 2**30


@pytest.mark.parametrize("kind", gpus.GPUS)
def test_the_description_of_a_gpu_has_balanced_braces_and_its_numbers(kind):
  gpu = gpus.GPUS[kind]
  text = gpus.target_config(gpu)
  assert text.count("{") == text.count("}")
  assert f'name: "{gpu.name}"' in text
  assert f"device_memory_size: {gpu.memory}\n" in text


def test_devices_that_are_here_still_say_nothing_of_memory_on_cpu():
  import jax

  assert memory.offered(jax.devices()) is None


@pytest.mark.parametrize("name", ["v5e", "h100"])
def test_a_program_that_is_compiled_again_is_no_matter_of_the_cache(
  name, tmp_path, monkeypatch
):
  try:
    target = describe(name)
  except UserError as error:
    pytest.skip(str(error))
  x = jax.ShapeDtypeStruct(
    (8, 8), jnp.float32, sharding=SingleDeviceSharding(target.devices[0])
  )
  folder = jax.config.jax_compilation_cache_dir
  seconds = jax.config.jax_persistent_cache_min_compile_time_secs
  jax.config.update("jax_compilation_cache_dir", str(tmp_path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  try:
    for _ in range(2):
      target.compile(jax.jit(jnp.tanh).lower(x))
  finally:
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
  assert not list(tmp_path.iterdir())
