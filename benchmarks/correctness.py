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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from benchmarks import fidelity
from benchmarks.fidelity import DECIBELS, RELATIVE, Row, relative
from benchmarks.input_pipeline import write_records
from benchmarks.report import show
from benchmarks.shipped import TINY, shipped
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.devices.platforms import platform_of
from mixit_jax.doctor.forecast import Program, compile_step
from mixit_jax.objectives.snr import inactive_snr_loss
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.ops.attention import self_attention
from mixit_jax.separator.ops.convolution import correlate
from mixit_jax.separator.waveform import analyze, separate
from mixit_jax.training.config import Config
from mixit_jax.training.initialize import initial_state
from mixit_jax.training.loop import train
from mixit_jax.training.objectives import make_objective
from mixit_jax.weights.runs import load_params
from mixit_jax.weights.torch_weights import from_torch

# Lengths of the sequences of both paths: bands, and frames of 6 s.
LENGTHS = (62, 517)

# Relative errors: of rounding to 8 bits, in values and in gradients, and of float32.
_TOLERANCES = {"bfloat16": 1e-2, "float32": 1e-5}


def vectors() -> Iterator[Row]:
  """Compare every stage with the reference vectors, with full products."""
  with full_products():
    yield from fidelity.measure()


def precision() -> Iterator[Row]:
  """Compare bfloat16 with float32: estimates and gradient of the reference weights."""
  config, params = from_torch(fidelity.reference_weights(), n_heads=2, n_groups=2)
  references = np.load(fidelity.VECTORS / "separator.npz")["estimates"][..., :12000]
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
        yield from _attention_rows(kernel, model, length)


def _attention_rows(kernel: str, model: SeparatorConfig, length: int) -> Iterator[Row]:
  features, heads = model.embed_dim, model.num_heads
  x = draw(0, 2, 3, length, features)
  projection = 2 * draw(1, features, 3 * features) / np.sqrt(features)
  yield from _compare(
    f"attention, {kernel}, {heads} heads, {length} long",
    lambda x, w: self_attention(x, w, heads, None, 0.0, kernel),
    lambda x, w: attention_by_definition(x, w, heads),
    {"values": None, "gradient of input": x, "gradient of weights": projection},
    model.dtype,
  )


def convolution(small: bool = False) -> Iterator[Row]:
  """Compare the convolutions of the feed-forward layers with their definition."""
  features, hidden, length = (8, 12, 20) if small else (128, 192, 517)
  x, kernel = draw(0, 2, 3, length, features), draw(1, 8, features, hidden)
  for form in ("convolution", "taps", "columns"):
    for dtype in ("float32",) if small else _TOLERANCES:
      for full in (False, True):
        yield from _compare(
          f"convolution as {form}{', full' if full else ''}",
          lambda x, w, full=full, form=form: correlate(x, w, full, form),
          lambda x, w, full=full: convolution_by_definition(x, w, full),
          {"values": None, "gradient of input": x, "gradient of kernel": kernel},
          dtype,
        )


def _compare(
  stage: str,
  function: Callable[..., Array],
  definition: Callable[..., Array],
  parts: dict[str, np.ndarray | None],
  dtype: str,
) -> Iterator[Row]:
  """Compare a function of rounded inputs, and its gradients, with its definition.

  Args:
    stage: what is compared.
    function: of the inputs.
    definition: of the same, to be computed in float32.
    parts: names of the result and of each gradient, with its input.
    dtype: of the inputs.
  """
  inputs = [jnp.asarray(x, dtype) for x in parts.values() if x is not None]
  with full_products():
    expected = _with_gradients(definition, *(x.astype(jnp.float32) for x in inputs))
  with full_products(dtype):
    found = _with_gradients(function, *inputs)
  for part, one, other in zip(parts, found, expected, strict=True):
    error = relative(one.astype(jnp.float32), other)
    yield Row(f"{stage}, {dtype}: {part}", error, RELATIVE, _TOLERANCES[dtype])


def step() -> Iterator[Row]:
  """Compare training steps on the devices with those of one CPU, in float32."""
  devices, count = jax.devices(), jax.device_count()
  meshes = {}
  if devices[0].platform != "cpu" or count == 1:
    meshes["one device"] = make_mesh(devices=devices[:1])
  if count > 1:
    meshes[f"{count} devices"] = make_mesh()
    meshes[f"{count} devices, fsdp={count}"] = make_mesh(fsdp=count)
  on_cpu = make_mesh(devices=jax.devices("cpu")[:1])
  for stage in ("pretrain", "finetune"):
    config = shipped(stage, "small").changed(
      model={**TINY, "dtype": "float32"},
      data={"seconds": 1.0},
      run={"batch": 2 * count},
    )
    program = _compile(config, on_cpu)
    state = initial_state(program.objective, Path(), on_cpu)
    start = jax.tree.map(np.asarray, (state, program.random_batch()))
    expected = _one_step(program, start)
    for name, mesh in meshes.items():
      found = _one_step(_compile(config, mesh), start)
      name = f"step of {stage} on {name}"
      yield Row(f"{name}: loss", abs(found.loss - expected.loss), DECIBELS, 1e-3)
      error = relative(found.gradient, expected.gradient)
      yield Row(f"{name}: gradient", error, RELATIVE, 1e-3)


class Step(NamedTuple):
  """What a training step gives."""

  loss: float
  gradient: np.ndarray


def _compile(config: Config, mesh: Mesh) -> Program:
  with full_products():
    return compile_step(make_objective(config, mesh), mesh)


def _is_adam(node: Any) -> bool:
  return isinstance(node, optax.ScaleByAdamState)


def _one_step(program: Program, start: Any) -> Step:
  """Take a step from a state and a batch of the host."""
  placed = jax.tree.map(
    lambda value, layout: jax.device_put(value, layout.sharding),
    start,
    (program.state, program.batch),
  )
  state, metrics = program.step(*placed)
  # The first mean of gradients that Adam keeps is a tenth of the first one.
  nodes = jax.tree.leaves(state.opt_state, is_leaf=_is_adam)
  (adam,) = filter(_is_adam, nodes)
  return Step(float(metrics["loss"]), _flat(adam.mu))


def restart() -> Iterator[Row]:
  """Compare a run that was stopped and started again with an undisturbed one."""
  count = jax.device_count()
  with tempfile.TemporaryDirectory() as folder:
    shards, runs = Path(folder) / "data", (Path(folder) / "a", Path(folder) / "b")
    write_records(shards, 8, 2.0)
    config = shipped("pretrain", "small").changed(
      model=TINY,
      data={"shards": str(shards), "seconds": 1.0},
      run={"steps": 6, "steps_per_epoch": 6, "batch": 2 * count, "save_every": 3},
      valid={"examples": 2 * count, "media": 0},
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
  still = sum(np.array_equal(a, b) for a, b in zip(undisturbed, start, strict=True))
  yield Row("parameters since the restart", still, "tensors that did not move", 0)


CHECKS: dict[str, Callable[..., Iterator[Row]]] = {
  "vectors": vectors,
  "precision": precision,
  "step": step,
  "attention": attention,
  "convolution": convolution,
  "restart": restart,
}


def check(name: str, **choices: Any) -> dict[str, Any]:
  """Run one of the checks.

  Returns:
    `rows`, one for each comparison; `passed`, whether all are within their tolerances.
  """
  rows = [
    # Some errors are numbers of NumPy, which JSON does not know.
    row._asdict()
    | {"error": float(row.error), "passed": bool(row.error <= row.tolerance)}
    for row in CHECKS[name](**choices)
  ]
  return {"rows": rows, "passed": all(row["passed"] for row in rows)}


def full_products(dtype: str = "float32") -> Any:
  """Let products keep full precision within a block that computes in float32."""
  return jax.default_matmul_precision("highest" if dtype == "float32" else "default")


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
  targets = jnp.asarray(references)

  def compute(dtype: Any) -> Result:
    typed = dataclasses.replace(config, dtype=dtype, attention="auto").settled(platform)

    def loss(params: Any) -> tuple[Array, Array]:
      estimates = separate(typed, params, mixture)
      scale = analyze(typed, mixture)[1][:, None, :, None]
      loss = inactive_snr_loss(targets / scale, estimates / scale)
      return loss.mean(), estimates

    with full_products(dtype):
      (value, estimates), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        params
      )
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype("float32")}
    return Result(np.asarray(estimates), _flat(gradient), float(value))

  return {dtype: compute(dtype) for dtype in ("float32", "bfloat16")}


def attention_by_definition(x: Array, projection: Array, num_heads: int) -> Array:
  """Let sequences x [..., L, D] attend to themselves, as in `self_attention`."""
  parts = jnp.split(x @ projection, 3, -1)
  q, k, v = (
    jnp.swapaxes(part.reshape(*part.shape[:-1], num_heads, -1), -3, -2)
    for part in parts
  )
  weights = jax.nn.softmax(q @ jnp.swapaxes(k, -2, -1) / np.sqrt(q.shape[-1]), -1)
  return jnp.swapaxes(weights @ v, -3, -2).reshape(*x.shape[:-1], -1)


def convolution_by_definition(x: Array, kernel: Array, full: bool) -> Array:
  """Correlate sequences [B, S, L, D] with a kernel [J, D, E], tap by tap."""
  padding = len(kernel) - 1 if full else 0
  x = jnp.pad(x, ((0, 0), (0, 0), (padding, padding), (0, 0)))
  length = x.shape[2] - len(kernel) + 1
  taps = [x[:, :, j : j + length] @ tap for j, tap in enumerate(kernel)]
  return jnp.sum(jnp.stack(taps), axis=0)


def draw(seed: int, *shape: int) -> np.ndarray:
  """Draw float32 noise."""
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def _with_gradients(
  function: Callable[..., Array], *inputs: Array
) -> tuple[Array, ...]:
  """Return a result and the gradients of its inputs for a random gradient of it."""

  @jax.jit
  def compute(*inputs: Array) -> tuple[Array, ...]:
    y, pull = jax.vjp(function, *inputs)
    gradient = jax.random.normal(jax.random.key(0), y.shape).astype(jnp.bfloat16)
    return y, *pull(gradient.astype(y.dtype))

  return compute(*inputs)


def _flat(tree: Any) -> np.ndarray:
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def main() -> int:
  """Print a table for each check; return 1 where something is beyond its tolerance."""
  print(f"{jax.device_count()} x {jax.devices()[0].device_kind}")
  passed = True
  for name in CHECKS:
    result = check(name)
    show(name, result["rows"])
    passed &= result["passed"]
  return int(not passed)


if __name__ == "__main__":
  sys.exit(main())
