import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.devices.mesh import make_mesh, state_sharding
from mixit_jax.weights.checksums import checksums

TREE = {
  "matrix": np.random.default_rng(0).standard_normal((256, 128)).astype(np.float32),
  "count": np.int32(7),
}


def flip(array, place, bit):
  bits = array.copy().view(np.uint32)
  bits[place] ^= np.uint32(1 << bit)
  return bits.view(array.dtype)


def test_every_bit_counts_and_so_does_the_place():
  matrix = TREE["matrix"][:4, :4].copy()
  values = {checksums([matrix])["[0]"], checksums([matrix.T])["[0]"]}
  for bit in range(32):
    values.add(checksums([flip(matrix, (3, 2), bit)])["[0]"])
    values.add(checksums([flip(matrix, (0, 1), bit)])["[0]"])
  assert len(values) == 66


def test_signs_that_change_in_pairs_show():
  matrix = TREE["matrix"][:4, :4]
  assert checksums([matrix]) != checksums([-matrix])


@pytest.mark.parametrize("fsdp", [1, 4])
def test_devices_do_not_matter(fsdp):
  mesh = make_mesh(fsdp)
  divided = jax.device_put(TREE, state_sharding(TREE, mesh))
  assert checksums(divided) == checksums(jax.tree.map(jnp.asarray, TREE))
