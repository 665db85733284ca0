"""Programs of the package for devices that are not here, and what their text says."""

import math
import re
import time
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mixit_jax.devices import memory
from mixit_jax.devices.mesh import make_mesh, replicated
from mixit_jax.devices.targets import describe
from mixit_jax.doctor.collectives import collectives
from mixit_jax.errors import UserError
from mixit_jax.separator import init
from mixit_jax.separator.bs_locoformer import types_in_use
from mixit_jax.separator.compiled import _separate, fold
from mixit_jax.training.fitting import fit
from mixit_jax.training.initialize import state_layout
from mixit_jax.training.objectives import make_objective
from mixit_jax.training.step import jit_train_step, make_valid_step

# Types of the operands and of the result of an operation in StableHLO, and what a
# product sums over.
_TYPES = re.compile(r": \(tensor<(\S+)>, tensor<(\S+)>\) -> tensor<(\S+)>")
_CONTRACTED = re.compile(r"contracting_dims = \[([\d, ]*)\]")
_KERNEL = re.compile(r"dim_numbers = \[[^\]]*\]x\[([^\]]*)\]")

# Share of the devices' memory that must be left.
MARGIN = 0.05
# Seconds of one core, for TPUs at XLA's level O0.
COMPILED_WITHIN = 400


def target_or_skip(name):
  try:
    return describe(name)
  except UserError as error:
    pytest.skip(str(error))


def settled(config, target, **mesh):
  mesh = make_mesh(devices=target.devices, **mesh)
  return make_objective(fit(config, mesh, target.memory), mesh), mesh


def train_step(objective, mesh):
  """The lowered step of a run."""
  state = state_layout(objective.config, mesh)
  step = jit_train_step(objective, mesh, state)
  return step.lower(state, objective.batch_layout(mesh))


def valid_step(objective, mesh):
  """The lowered validation step."""
  params = _replicated(state_layout(objective.config, mesh).params, mesh)
  batch = objective.batch_layout(mesh)
  size = objective.config.run.batch
  mask = jax.ShapeDtypeStruct(
    (size,), jnp.float32, sharding=NamedSharding(mesh, P(mesh.axis_names))
  )
  return jax.jit(make_valid_step(objective.loss, mesh)).lower(params, batch, mask)


def separation(model, mesh, seconds, chunks):
  """The lowered separation of `chunks` chunks on each device."""
  shapes = jax.eval_shape(lambda: init(model, jax.random.key(0)))
  params = _replicated(jax.eval_shape(fold, shapes), mesh)
  layout = NamedSharding(mesh, P(mesh.axis_names))
  shape = (chunks * mesh.devices.size, 2, round(seconds * model.sample_rate))
  batch = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=layout)
  return _separate.lower(model, layout, params, batch)


def compiled(lowered, target):
  """Compile at the level that takes least time, where there is a choice."""
  fast = target.devices[0].platform == "tpu"
  before = jax.config.jax_optimization_level
  jax.config.update("jax_optimization_level", "O0" if fast else before)
  try:
    return target.compile(lowered)
  finally:
    jax.config.update("jax_optimization_level", before)


def product_operations(lowered):
  """Operations of the products of a program by the type of their factors.

  The body of a loop counts once.
  """
  operations = {}
  for line in lowered.as_text().splitlines():
    found = _TYPES.search(line)
    if found is None:
      continue
    (*left, dtype), (*right, _), (*result, _) = (t.split("x") for t in found.groups())
    if contracted := _CONTRACTED.search(line):
      summed = [
        int(left[int(axis)]) for axis in contracted[1].split(",") if axis.strip()
      ]
    elif kernel := _KERNEL.search(line):
      axes = [axis.strip() for axis in kernel[1].split(",")]
      summed = [int(n) for n, axis in zip(right, axes, strict=True) if axis != "o"]
    else:
      continue
    count = 2 * math.prod(summed) * math.prod(int(n) for n in result)
    operations[dtype] = operations.get(dtype, 0) + count
  return operations


def _replicated(layout, mesh):
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=replicated(mesh)
    ),
    layout,
  )


def check_memory(step, target):
  """Make sure that a program leaves some of the memory free."""
  assert step.memory_analysis().peak_memory_in_bytes < (1 - MARGIN) * target.memory


def check_step(config, name, fsdp=1):
  """Compile a training step for devices, and look at what came out."""
  target = target_or_skip(name)
  objective, mesh = settled(config, target, fsdp=fsdp)
  lowered = train_step(objective, mesh)

  # Nearly all is computed in bfloat16: not the composition of two small layers, nor the
  # objective.
  operations = product_operations(lowered)
  assert operations["bf16"] > 0.9 * sum(operations.values())

  begun = time.process_time()
  step = compiled(lowered, target)
  assert time.process_time() - begun < COMPILED_WITHIN
  check_memory(step, target)

  # Gradients are summed in float32, and nothing but them and parameters travels.
  trainable = objective.config.frozen
  layout = state_layout(objective.config, mesh).params
  sizes = {name: memory.whole_bytes(part) for name, part in layout.items()}
  gradients = sum(size for name, size in sizes.items() if name not in trainable)
  found = list(collectives(step.as_text()))
  kinds = Counter(collective.kind for collective in found)
  scalars = 2**16
  summed = sum(c.bytes for c in found if c.kind == "all-reduce")
  if fsdp == 1:
    alone = len(target.devices) == 1  # sums may be there, but have nobody to talk to
    assert set(kinds) == {"all-reduce"} or (alone and not kinds)
    assert gradients <= summed < gradients + scalars or alone
  else:
    # Gathered once, in the types in which the model uses them.
    types = types_in_use(objective.model, layout)
    used = jax.tree.map(lambda x, t: x.size * jnp.dtype(t).itemsize, layout, types)
    gathered = sum(c.bytes for c in found if c.kind == "all-gather")
    assert gathered <= sum(jax.tree.leaves(used)) < 0.65 * sum(sizes.values())
    assert "all-to-all" not in kinds
  for collective in found:
    if collective.kind in ("all-reduce", "reduce-scatter"):
      assert {array.type for array in collective.arrays} <= {"f32", "s32"}
  return step
