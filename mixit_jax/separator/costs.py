"""What a separator costs: operations counted from its sizes alone.

A multiplication with its addition counts as two operations. Only matrix products,
convolutions and Fourier transforms count. Operations that are repeated to save memory
count once. The padding at the ends of convolutions costs nothing.
"""

import math
from collections.abc import Iterable

from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.waveform import num_frames


def forward_flops(
  config: SeparatorConfig, samples: int, batch: int = 1
) -> dict[str, float]:
  """Count the operations to separate a batch of mixtures.

  Args:
    config: sizes of the separator.
    samples: length L of the mixtures.
    batch: number of mixtures B.

  Returns:
    operations of each part: "band_split", "feed_forward", "attention" (with its linear
    layers), "decoder" and "fourier" (STFT and its inverse).
  """
  c = config
  length, bands = num_frames(samples, c.n_fft, c.hop), len(c.bands)
  frames = batch * length
  places = frames * bands
  # Both paths of every block: two feed-forward layers of two convolutions each.
  tap = c.embed_dim * 2 * c.ffn_dim + c.ffn_dim * c.embed_dim
  feed_forward = 2 * 2 * places * c.kernel_size * tap
  linear = 2 * places * 4 * c.embed_dim**2
  # Logits and weighted sums of each query with the keys of its sequence.
  weights = 4 * places * (bands + length) * c.embed_dim
  bins = c.n_fft // 2 + 1
  parts = 2 * c.num_channels  # real and imaginary
  hidden = 4 * c.embed_dim
  masks = bins * parts * (c.num_masks or c.num_sources) * (2 * hidden)
  masks += bins * parts * c.num_masks * c.num_sources  # weighted sums
  # The first two layers of the decoder are composed once for the whole batch.
  composition = bands * c.embed_dim * hidden**2
  transforms = c.num_channels * (frames + batch + c.num_sources * frames)
  return {
    "band_split": 2.0 * frames * bins * parts * c.embed_dim,
    "feed_forward": 2.0 * c.num_blocks * feed_forward,
    "attention": 1.0 * c.num_blocks * (2 * linear + weights),
    "decoder": 2.0 * (frames * (bands * c.embed_dim * hidden + masks) + composition),
    "fourier": transforms * 2.5 * c.n_fft * math.log2(c.n_fft),
  }


def step_flops(
  config: SeparatorConfig, samples: int, batch: int, frozen: Iterable[str] = ()
) -> float:
  """Count the operations of a training step, forward and backward.

  The gradients of a layer cost its forward pass twice: once for its input, and once for
  its parameters unless they are frozen.

  Args:
    config: sizes of the separator.
    samples: length L of the examples.
    batch: examples of the step.
    frozen: groups of parameters that do not train ("blocks").
  """
  parts = forward_flops(config, samples, batch)
  blocks = parts.pop("feed_forward") + parts.pop("attention")
  return 3 * sum(parts.values()) + (2 if "blocks" in frozen else 3) * blocks
