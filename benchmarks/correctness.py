"""Is what a device computes right?

    python -m benchmarks.correctness

Every check compares what the devices of this machine compute with something
independent: the reference vectors, float32, a definition, the CPU, an undisturbed run.
Each gives rows of error and tolerance. `python -m benchmarks.accelerator` begins with
them; the tests use the same comparisons on CPU.
"""

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from benchmarks import fidelity
from benchmarks.fidelity import RELATIVE, Row, relative
from benchmarks.shipped import TINY, shipped
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.devices.platforms import platform_of
from mixit_jax.objectives.snr import inactive_snr_loss
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.ops.attention import self_attention
from mixit_jax.separator.ops.convolution import correlate
from mixit_jax.separator.waveform import analyze, separate
from mixit_jax.weights.torch_weights import from_torch

# Lengths of the sequences of both paths: bands, and frames of 6 s.
LENGTHS = (62, 517)

# Rounding to 8 bits, in values and in gradients.
_HALF = 1e-2


def vectors() -> Iterator[Row]:
  """Compare every stage with the reference vectors, with full products."""
  with full_products():
    yield from fidelity.measure()


def precision() -> Iterator[Row]:
  """Compare bfloat16 with float32: estimates and gradient of the reference weights."""
  config, params = from_torch(fidelity.reference_weights(), n_heads=2, n_groups=2)
  references = np.load(fidelity.VECTORS / "separator.npz")["estimates"][..., :12000]
  with full_products():
    results = both_precisions(config, params, references)
  full, half = results["float32"], results["bfloat16"]
  error = relative(half.estimates, full.estimates)
  yield Row("bfloat16, estimates", error, RELATIVE, 3e-2)
  error = relative(half.gradient, full.gradient)
  yield Row("bfloat16, gradient", error, RELATIVE, 7e-2)


def attention(small: bool = False) -> Iterator[Row]:
  """Compare attention as this platform computes it with its definition."""
  for size in ("small",) if small else ("small", "medium"):
    model = shipped("pretrain", size).model.settled(platform_of(make_mesh()))
    # What is always there, and what the platform has of its own.
    for kernel in sorted({"xla", model.attention}):
      for length in LENGTHS[:1] if small else LENGTHS:
        yield from attention_rows(kernel, model, length)


def attention_rows(kernel: str, model: SeparatorConfig, length: int) -> Iterator[Row]:
  """Compare attention and its gradient in the model's type with the definition."""
  heads, dtype = model.num_heads, jnp.dtype(model.dtype)
  qkv = 2 * draw(0, 2, 3, length, 3 * model.embed_dim)
  g = draw(1, 2, 3, length, model.embed_dim)
  rounded = [jnp.asarray(x, dtype) for x in (qkv, g)]
  found = with_gradients(
    lambda x: self_attention(x, heads, None, 0.0, kernel), rounded[1], rounded[0]
  )
  with full_products():
    expected = with_gradients(
      lambda x: attention_by_definition(x, heads),
      *(x.astype(jnp.float32) for x in reversed(rounded)),
    )
  tolerance = _HALF if dtype == jnp.bfloat16 else 1e-5
  for part, one, other in zip(("values", "gradient"), found, expected, strict=True):
    stage = f"attention, {kernel} {dtype}, {heads} heads, {length} long: {part}"
    yield Row(stage, relative(one.astype(jnp.float32), other), RELATIVE, tolerance)


def convolution(small: bool = False) -> Iterator[Row]:
  """Compare the convolution of the feed-forward layers with its definition."""
  features, hidden, length = (8, 12, 20) if small else (128, 192, 517)
  x, kernel = draw(0, 2, 3, length, features), draw(1, 8, features, hidden)
  for dtype, tolerance in (("float32", 1e-5), ("bfloat16", _HALF)):
    inputs = [jnp.asarray(array, dtype) for array in (x, kernel)]
    precise = [array.astype(jnp.float32) for array in inputs]
    for full in (False, True):
      with full_products():
        expected, found = (
          with_gradients(
            lambda x, w, f=function, full=full: f(x, w, full),
            jnp.asarray(
              draw(2, 2, 3, length + (7 if full else -7), hidden), dtype
            ).astype(arrays[0].dtype),
            *arrays,
          )
          for function, arrays in (
            (convolution_by_definition, precise),
            (correlate, inputs),
          )
        )
      parts = ("values", "gradient of input", "gradient of kernel")
      for part, one, other in zip(parts, found, expected, strict=True):
        stage = f"convolution, {dtype}{', full' if full else ''}: {part}"
        yield Row(stage, relative(one.astype(jnp.float32), other), RELATIVE, tolerance)


def step() -> Iterator[Row]:
  """Compare training steps on the first device with those of the CPU, in float32."""
  from mixit_jax.doctor.forecast import compile_step
  from mixit_jax.training.initialize import initial_state
  from mixit_jax.training.objectives import make_objective

  meshes = [make_mesh(devices=d[:1]) for d in (jax.devices("cpu"), jax.devices())]
  for stage in ("pretrain", "finetune"):
    config = shipped(stage, "small").changed(
      model={**TINY, "dtype": "float32"}, data={"seconds": 1.0}, run={"batch": 2}
    )
    results, start, batch = [], None, None
    for mesh in meshes:
      objective = make_objective(config, mesh)
      with full_products():
        program = compile_step(objective, mesh)
      if start is None:
        state = initial_state(objective, Path(), mesh)
        start, batch = jax.tree.map(np.asarray, (state, program.random_batch()))
      placed = jax.tree.map(
        lambda value, layout: jax.device_put(value, layout.sharding),
        (start, batch),
        (program.state, program.batch),
      )
      results.append(jax.tree.map(np.asarray, program.step(*placed)))
    (cpu, cpu_metrics), (own, own_metrics) = results
    error = abs(float(own_metrics["loss"]) - float(cpu_metrics["loss"]))
    yield Row(f"step of {stage} and the CPU's: loss", error, fidelity.DECIBELS, 1e-3)
    error = relative(_first_gradient(own), _first_gradient(cpu))
    yield Row(f"step of {stage} and the CPU's: gradient", error, RELATIVE, 1e-3)


def restart() -> Iterator[Row]:
  """Compare a run that was stopped and started again with an undisturbed one."""
  from benchmarks.input_pipeline import write_records
  from mixit_jax.training.loop import train
  from mixit_jax.weights.runs import load_params

  count = jax.device_count()
  with tempfile.TemporaryDirectory() as folder:
    shards, runs = Path(folder) / "data", (Path(folder) / "a", Path(folder) / "b")
    write_records(shards, 8, 2.0)
    config = shipped("pretrain", "small").changed(
      model=TINY,
      data={"shards": str(shards), "seconds": 1.0},
      run={"steps": 6, "steps_per_epoch": 6, "batch": 4 * count, "save_every": 3},
      valid={"examples": 4 * count, "chunk_seconds": 1.0, "hop_seconds": 1.0},
      mesh={"distributed": "off"},
    )
    train(config, runs[0])
    train(config.changed(run={"steps": 3}), runs[1])
    train(config, runs[1])
    undisturbed, restarted = (jax.tree.leaves(load_params(run, [6])) for run in runs)
    start = jax.tree.leaves(load_params(runs[0], [3]))
  pairs = zip(undisturbed, restarted, strict=True)
  different = sum(not np.array_equal(one, other) for one, other in pairs)
  yield Row("parameters after a restart", different, "tensors that differ", 0)
  moved = sum(np.array_equal(a, b) for a, b in zip(undisturbed, start, strict=True))
  yield Row("parameters since then", moved, "tensors that did not move", 0)


CHECKS: dict[str, Callable[..., Iterator[Row]]] = {
  "vectors": vectors,
  "precision": precision,
  "attention": attention,
  "convolution": convolution,
  "step": step,
  "restart": restart,
}
# Checks that have a smaller form.
SHORTENED = ("attention", "convolution")


def check(name: str, small: bool = False) -> dict[str, Any]:
  """Run one of the checks.

  Returns:
    `rows`, each of a `Row`'s values by name; `passed`, whether all are within their
    tolerances.
  """
  rows = list(CHECKS[name](**({"small": small} if name in SHORTENED else {})))
  return {
    "rows": [{**row._asdict(), "error": float(row.error)} for row in rows],
    "passed": all(row.error <= row.tolerance for row in rows),
  }


def full_products() -> Any:
  """Let products of float32 matrices keep full precision within a block."""
  return jax.default_matmul_precision("highest")


class Result(NamedTuple):
  """What a type of the computation gives."""

  estimates: np.ndarray
  gradient: np.ndarray
  loss: float


def both_precisions(
  config: SeparatorConfig, params: Any, references: np.ndarray
) -> dict[str, Result]:
  """Compute estimates, fine-tuning loss and its gradient in float32 and bfloat16."""
  mixture, platform = references.sum(1), platform_of(make_mesh())

  def compute(dtype: Any) -> Result:
    typed = dataclasses.replace(config, dtype=dtype, attention="auto").settled(platform)

    def loss(params: Any) -> tuple[Array, Array]:
      estimates = separate(typed, params, mixture)
      scale = analyze(typed, mixture)[1][:, None, :, None]
      loss = inactive_snr_loss(references / scale, estimates / scale)
      return loss.mean(), estimates

    (value, estimates), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
      params
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype("float32")}
    return Result(np.asarray(estimates), _flat(gradient), float(value))

  return {dtype: compute(dtype) for dtype in ("float32", "bfloat16")}


def attention_by_definition(qkv: Array, num_heads: int) -> Array:
  """Attend from queries, keys and values side by side [..., L, 3D] to [..., L, D]."""
  parts = (x.reshape(*x.shape[:-1], num_heads, -1) for x in jnp.split(qkv, 3, -1))
  q, k, v = (jnp.swapaxes(x, -3, -2) for x in parts)
  weights = jax.nn.softmax(q @ jnp.swapaxes(k, -2, -1) / np.sqrt(q.shape[-1]), -1)
  attended = jnp.swapaxes(weights @ v, -3, -2)
  return attended.reshape(*qkv.shape[:-1], -1)


def convolution_by_definition(x: Array, kernel: Array, full: bool) -> Array:
  """Correlate sequences [B, S, L, D] with a kernel [J, D, E], tap by tap."""
  padding = len(kernel) - 1 if full else 0
  x = jnp.pad(x, ((0, 0), (0, 0), (padding, padding), (0, 0)))
  length = x.shape[2] - len(kernel) + 1
  taps = [x[:, :, j : j + length] @ tap for j, tap in enumerate(kernel)]
  return jnp.sum(jnp.stack(taps), axis=0)


def with_gradients(
  function: Callable[..., Array], g: Array, *inputs: Array
) -> tuple[Array, ...]:
  """Return a result and the gradients of its inputs for a gradient g of the result."""

  @jax.jit
  def compute(g: Array, *inputs: Array) -> tuple[Array, ...]:
    y, pull = jax.vjp(function, *inputs)
    return y, *pull(g.astype(y.dtype))

  return compute(g, *inputs)


def draw(seed: int, *shape: int) -> np.ndarray:
  """Draw float32 noise."""
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def _first_gradient(state: Any) -> np.ndarray:
  """Read the gradient of the first step off the optimizer, a tenth of it."""
  is_adam = lambda node: isinstance(node, optax.ScaleByAdamState)  # noqa: E731
  nodes = jax.tree.leaves(state.opt_state, is_leaf=is_adam)
  (adam,) = filter(is_adam, nodes)
  return _flat(adam.mu)


def _flat(tree: Any) -> np.ndarray:
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def main(names: Sequence[str] = tuple(CHECKS)) -> int:
  """Print the table; return 1 where something is beyond its tolerance."""
  failed = False
  print(f"{jax.devices()[0].device_kind}\n")
  print("| stage | error | measure | tolerance |\n|---|---|---|---|")
  for name in names:
    for row in CHECKS[name]():
      failed |= not row.error <= row.tolerance
      note = "" if row.error <= row.tolerance else " **beyond**"
      print(
        f"| {row.stage} | {row.error:.1e}{note} | {row.measure} | {row.tolerance:.1e} |",
        flush=True,
      )
  return int(failed)


if __name__ == "__main__":
  sys.exit(main())
