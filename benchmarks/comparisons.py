"""Contestants of every contest."""

from typing import Any

from benchmarks.turns import Contestant

_JAX = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}
_TORCH = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}

OURS, THEIRS = "mixit_jax", "PyTorch"
_DROPOUT = 0.1  # of configs/pretrain.py


def train_step(
  size: str,
  num_sources: int,
  seconds: float,
  batch: int,
  dtype: str,
  remat: str,
  torch: bool,
  accelerator: bool,
) -> list[Contestant]:
  """List contestants of a training step: ours, and the baseline eager and compiled."""
  common = {
    "size": size,
    "num_sources": num_sources,
    "seconds": seconds,
    "batch": batch,
  }
  ours = [_ours("train_step", OURS, common | {"dtype": dtype, "remat": remat})]
  if not torch:
    return ours
  common |= {"autocast": "" if dtype == "float32" else dtype, "dropout": _DROPOUT}
  theirs = [_theirs("train_step", f"{THEIRS} eager", common)]
  if accelerator:
    compiled = common | {"compiled": True}
    checkpointed = {"checkpoint_blocks": True}
    theirs += [
      _theirs("train_step", f"{THEIRS} compiled", compiled),
      _theirs("train_step", f"{THEIRS} eager, checkpoints", common | checkpointed),
      _theirs("train_step", f"{THEIRS} compiled, checkpoints", compiled | checkpointed),
    ]
  return ours + theirs


def separation(
  size: str,
  num_sources: int,
  seconds: float,
  chunk: float,
  hop: float,
  batch: int,
  dtype: str,
  torch: bool,
  accelerator: bool,
) -> list[Contestant]:
  """List contestants of separation: ours, and the baseline eager and compiled."""
  common: dict[str, Any] = {
    "size": size,
    "num_sources": num_sources,
    "seconds": seconds,
    "chunk": chunk,
    "hop": hop,
    "batch": batch,
  }
  ours = [_ours("separation", OURS, common | {"dtype": dtype})]
  if not torch:
    return ours
  common |= {"autocast": "" if dtype == "float32" else dtype}
  theirs = [_theirs("separation", f"{THEIRS} eager", common)]
  if accelerator:
    theirs.append(
      _theirs("separation", f"{THEIRS} compiled", common | {"compiled": True})
    )
  return ours + theirs


def objective(
  num_sources: int, seconds: float, batch: int, torch: bool
) -> list[Contestant]:
  """List contestants of the MixIT loss and gradient, and of the assignment alone."""
  common = {"num_sources": num_sources, "seconds": seconds, "batch": batch}
  kinds = ("exact", "efficient")
  found = [
    _ours("objective", f"{OURS} {kind}", common | {"assignment": kind})
    for kind in kinds
  ]
  found += [
    _ours("assignment", f"{OURS} {kind}, assignment alone", common | {"kind": kind})
    for kind in kinds
  ]
  if torch:
    found.append(_theirs("objective", f"{THEIRS} efficient", common))
  return found


def matrix_product(length: int, dtype: str, torch: bool) -> list[Contestant]:
  """List contestants of matrix products, whose speed nothing can exceed."""
  common = {"length": length, "dtype": dtype}
  found = [_ours("matrix_product", "JAX", common)]
  if torch:
    found.append(_theirs("matrix_product", THEIRS, common))
  return found


def _ours(task: str, name: str, arguments: dict[str, Any]) -> Contestant:
  return Contestant(name, f"benchmarks.ours:{task}", arguments, _JAX)


def _theirs(task: str, name: str, arguments: dict[str, Any]) -> Contestant:
  return Contestant(name, f"benchmarks.theirs:{task}", arguments, _TORCH)
