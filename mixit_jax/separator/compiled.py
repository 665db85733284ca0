"""The separator as a compiled function from chunks to chunks on the host."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mixit_jax.separator.bs_locoformer import Separator

SeparateChunks = Callable[[np.ndarray], np.ndarray]


@functools.partial(jax.jit, static_argnums=0)
def _separate(separator: Separator, params: Any, chunks: jax.Array) -> Any:
  return separator.apply({"params": params}, chunks)


def chunk_separator(
  separator: Separator, params: Any, mesh: Mesh | None = None
) -> SeparateChunks:
  """Separation of batches of chunks, compiled once for each model and shape.

  Args:
    separator: the model.
    params: its parameters.
    mesh: local devices over which each batch is divided; None takes the default one.

  Returns:
    Function of chunks [B, C, L] to estimates [B, N, C, L], both on the host. With a
    mesh, B must be a multiple of its number of devices.
  """
  if mesh is None:
    params = jax.device_put(params)
    return lambda chunks: np.asarray(_separate(separator, params, chunks))
  params = jax.device_put(params, NamedSharding(mesh, P()))
  batch = NamedSharding(mesh, P(mesh.axis_names))
  return lambda chunks: np.asarray(
    _separate(separator, params, jax.device_put(chunks, batch))
  )
