"""How many chunks a device separates together."""

import jax

from mixit_jax.separator.bs_locoformer import SeparatorConfig, num_frames

# More chunks do not keep a device busier: one of 12 s has tens of thousands of tokens.
LARGEST_BATCH = 8

# Of a device's free memory; the rest is for the next group, and for what is estimated
# too low.
_SHARE = 0.5


def automatic_batch(config: SeparatorConfig, samples: int) -> int:
  """Chunks that each local device separates together: 1, 2, 4 or 8.

  On a CPU one, where more are not faster. Elsewhere as many as half of the free memory
  holds by `chunk_bytes`; one where the device does not tell its memory.

  Args:
    config: of the separator.
    samples: length of the chunks.
  """
  free = _free_memory()
  if free is None:
    return 1
  fitting = _SHARE * free / chunk_bytes(config, samples)
  batch = 1
  while 2 * batch <= min(fitting, LARGEST_BATCH):
    batch *= 2
  return batch


def chunk_bytes(config: SeparatorConfig, samples: int) -> float:
  """Rough memory that one chunk takes at most at a time, parameters not counted.

  Blocks and decoder do not hold theirs at the same time. Fused attention stores no
  weights.

  Args:
    config: of the separator.
    samples: length of the chunk.
  """
  c = config
  width = 2 if c.compute_dtype() == "bfloat16" else 4
  frames, bands = num_frames(samples, c.n_fft, c.hop), len(c.bands)
  # Features with a norm in float32 beside them, and a feed-forward layer.
  block = frames * bands * (c.embed_dim * (4 + 3 * width) + 3 * c.ffn_dim * width)
  if c.attention_implementation() == "xla":
    pairs = max(bands * frames**2, frames * bands**2)
    block += c.num_heads * pairs * (4 + width)
  # Values and gates, masks, masked spectrograms and windows, real and imaginary.
  bins = frames * (c.n_fft // 2 + 1) * c.num_sources * c.num_channels
  decoder = bins * (6 * width + 3 * 8)
  return max(block, decoder)


def _free_memory() -> int | None:
  """Bytes that are free on the fullest local device; None where it is not known."""
  if jax.default_backend() == "cpu":
    return None
  free = []
  for device in jax.local_devices():
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
      return None
    free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
  return min(free)
