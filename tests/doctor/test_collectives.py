import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from mixit_jax.devices.mesh import make_mesh
from mixit_jax.doctor.collectives import Array, Collective, collectives, seconds

# Lines as XLA writes them for CPUs, TPUs and GPUs.
LINES = """
  %a = f32[4,8]{1,0} all-reduce(%x), channel_id=1, replica_groups={{0,1}}
  %b = (f32[128,384]{1,0:T(8,128)}, bf16[]) all-reduce(%x, %y), to_apply=%add
  %c = (bf16[2,4]{1,0}, bf16[16,4]{1,0}) all-gather-start(%x), dimensions={0}
  %d = bf16[16,4]{1,0} all-gather-done(%c)
  %e = f32[100]{0:T(1024)S(1)} all-reduce-start(%x), to_apply=%add
  ROOT %f = f32[3]{0} reduce-scatter(%x), dimensions={0}
  %g = (f32[4], f32[4], u32[], u32[]) collective-permute-start(%x)
  %h = f32[4]{0} add(%all-reduce.1, %x)
"""


def test_every_collective_is_found_once_with_its_results():
  found = list(collectives(LINES))
  assert [c.kind for c in found] == [
    "all-reduce",
    "all-reduce",
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "collective-permute",
  ]
  assert [c.bytes for c in found] == [128, 128 * 384 * 4 + 2, 128, 400, 12, 16]
  assert found[1].arrays == (Array("f32", (128, 384)), Array("bf16", ()))


def test_those_of_a_compiled_program_are_found():
  mesh = make_mesh(2, jax.devices())

  def step(x):
    whole = jax.lax.all_gather(x, "fsdp", tiled=True)
    return jax.lax.psum(jnp.sum(whole**2), ("data", "fsdp"))

  mapped = jax.shard_map(
    step, mesh=mesh, in_specs=P("fsdp"), out_specs=P(), check_vma=False
  )
  text = jax.jit(mapped).lower(jnp.zeros(64)).compile().as_text()
  found = {c.kind: c.bytes for c in collectives(text)}
  assert found == {"all-gather": 256, "all-reduce": 4}


@pytest.mark.parametrize(
  ("kind", "expected"),
  [("all-reduce", 1.5), ("all-gather", 0.75), ("reduce-scatter", 3.0)],
)
def test_time_is_that_of_a_ring(kind, expected):
  one_second = Collective(kind, (Array("f32", (250,)),))
  assert seconds([one_second], 4, 1000.0) == pytest.approx(expected)
