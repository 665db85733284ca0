"""The separator as a compiled function of chunks, on one device or several."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mixit_jax.separator.bandwise import fold
from mixit_jax.separator.bs_locoformer import Separator

# What comes back may still be on its way; `np.asarray` waits for it.
SeparateChunks = Callable[[np.ndarray], jax.Array]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _separate(
  separator: Separator, layout: NamedSharding | None, params: Any, chunks: jax.Array
) -> Any:
  estimates = separator.apply({"params": params}, chunks)
  if layout is None:
    return estimates
  return jax.lax.with_sharding_constraint(estimates, layout)


def chunk_separator(
  separator: Separator,
  params: Any,
  mesh: Mesh | None = None,
  full_products: bool = False,
) -> SeparateChunks:
  """Separation of batches of chunks, compiled once for each model and shape.

  Args:
    separator: the model.
    params: its parameters.
    mesh: local devices over which each batch is divided; None takes the default one.
    full_products: matrix products of float32 keep all its bits. By default a GPU rounds
      their factors to 11 bits (TF32) and a TPU to 8 (bfloat16).

  Returns:
    Function of chunks [B, C, L] on the host to estimates [B, N, C, L] on the devices,
    divided along B. It does not wait for them. With a mesh, B must be a multiple of
    its number of devices.
  """
  layout = None if mesh is None else NamedSharding(mesh, P(mesh.axis_names))
  whole = None if mesh is None else NamedSharding(mesh, P())
  params = fold(jax.device_put(params, whole))

  def separate(chunks: np.ndarray) -> jax.Array:
    chunks = np.asarray(chunks, np.float32)
    precise = (
      jax.default_matmul_precision("highest") if full_products else nullcontext()
    )
    with precise:
      return _separate(separator, layout, params, jax.device_put(chunks, layout))

  return separate
