"""The separator as a compiled function of chunks, on one device or several."""

import functools
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mixit_jax.devices.mesh import local_mesh
from mixit_jax.devices.platforms import platform_of
from mixit_jax.devices.start import standard_types
from mixit_jax.separator import waveform
from mixit_jax.separator.bandwise import composed
from mixit_jax.separator.bs_locoformer import COMPOSED
from mixit_jax.separator.config import SeparatorConfig

# The result may not be computed yet; `np.asarray` waits for it.
SeparateChunks = Callable[[np.ndarray], jax.Array]


def chunk_separator(
  config: SeparatorConfig,
  params: Any,
  mesh: Mesh | None = None,
  full_products: bool = False,
) -> SeparateChunks:
  """Make a function that separates batches of chunks.

  It is compiled once for each model and shape.

  Args:
    config: of the separator; what is "auto" is settled for the devices.
    params: its parameters.
    mesh: devices of this host over which each batch is divided; None takes one.
    full_products: whether products of float32 matrices keep full precision. By default
      a GPU rounds their factors to 11 bits (TF32) and a TPU to 8 (bfloat16).

  Returns:
    function of chunks [B, C, L] on the host to estimates [B, N, C, L] on the devices,
    divided along B. It does not wait for them. B must be a multiple of the number of
    devices.
  """
  mesh = local_mesh(1) if mesh is None else mesh
  config = config.settled(platform_of(mesh))
  layout = NamedSharding(mesh, P(mesh.axis_names))
  params = fold(jax.device_put(params, NamedSharding(mesh, P())))

  def separate(chunks: np.ndarray) -> jax.Array:
    placed = jax.device_put(np.asarray(chunks, np.float32), layout)
    precise = (
      jax.default_matmul_precision("highest") if full_products else nullcontext()
    )
    with precise, standard_types():
      return _separate(config, layout, params, placed)

  return separate


def fold(params: Mapping[str, Any]) -> dict[str, Any]:
  """Make two layers of the decoder one, for inference.

  Such parameters separate as before, but do not compose the layers for every batch.
  """
  decoder = dict(params["decoder"])
  layers = (decoder.pop(name) for name in COMPOSED)
  weights = ((layer["kernel"], layer["bias"]) for layer in layers)
  with standard_types():
    kernel, bias = jax.jit(composed)(*weights)
  decoder["folded"] = {"kernel": kernel, "bias": bias}
  return {**params, "decoder": decoder}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _separate(
  config: SeparatorConfig, layout: NamedSharding, params: Any, chunks: jax.Array
) -> jax.Array:
  return jax.shard_map(
    functools.partial(waveform.separate, config),
    mesh=layout.mesh,
    in_specs=(P(), layout.spec),
    out_specs=layout.spec,
    check_vma=False,
  )(params, chunks)
