import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.audio.pcm import to_float32

EVERY = np.arange(-32768, 32768, dtype=np.int16)


def test_every_integer_gives_the_same_bits_on_host_and_device():
  expected = np.array([n / 32768 for n in range(-32768, 32768)])  # exact in float64
  for found in (to_float32(EVERY), jax.jit(to_float32)(EVERY)):
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_float32_is_left_as_it_is():
  audio = np.float32([0.1, -1.7])
  assert to_float32(audio) is audio


def test_other_types_are_refused():
  for audio in (np.zeros(3), jnp.zeros(3, jnp.int32), jnp.zeros(3, jnp.bfloat16)):
    with pytest.raises(TypeError, match="expected samples int16 or float32, found"):
      to_float32(audio)
