"""How many chunks a device separates together."""

from jax.sharding import Mesh

from mixit_jax.devices import memory
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.ops.attention import LONGEST_ON_TPU
from mixit_jax.separator.waveform import num_frames

# More chunks do not use a device better: one of 12 s has tens of thousands of tokens.
LARGEST_BATCH = 8

# Share of a device's free memory to use; the rest is for the next group, and for
# estimates that are too low.
_SHARE = 0.5


def automatic_batch(config: SeparatorConfig, samples: int, mesh: Mesh) -> int:
  """Choose how many chunks each device separates together: 1, 2, 4 or 8.

  As many as fit into half of the free memory, by `chunk_bytes`. One where the device
  does not report its memory, such as a CPU, where more are not faster.

  Args:
    config: of the separator, settled for the devices.
    samples: length of the chunks.
    mesh: devices of this host.
  """
  free = memory.free(list(mesh.devices.flat))
  if free is None:
    return 1
  fitting = _SHARE * free / chunk_bytes(config, samples)
  batch = 1
  while 2 * batch <= min(fitting, LARGEST_BATCH):
    batch *= 2
  return batch


def chunk_bytes(config: SeparatorConfig, samples: int) -> float:
  """Estimate the peak memory of one chunk in bytes, without the parameters.

  Blocks and decoder do not need theirs at the same time. Fused attention stores no
  weights.

  Args:
    config: of the separator, settled for the devices.
    samples: length of the chunk.
  """
  c = config
  width = 2 if c.dtype == "bfloat16" else 4
  frames, bands = num_frames(samples, c.n_fft, c.hop), len(c.bands)
  # Features with a norm in float32 beside them, and a feed-forward layer.
  block = frames * bands * (c.embed_dim * (4 + 3 * width) + 3 * c.ffn_dim * width)
  stored = c.attention == "pallas" and frames > LONGEST_ON_TPU
  if c.attention == "xla" or stored:
    pairs = max(bands * frames**2, frames * bands**2)
    block += c.num_heads * pairs * (4 + width)
  # Values and gates, masks, masked spectrograms and windows, real and imaginary; masks
  # that are summed up, before and after.
  bins = frames * (c.n_fft // 2 + 1) * c.num_channels
  masks = c.num_masks or c.num_sources
  summed = 2 * 8 * c.num_masks
  decoder = bins * (6 * width * masks + summed + 3 * 8 * c.num_sources)
  return max(block, decoder)
