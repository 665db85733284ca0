"""What a separator costs: operations counted from its sizes alone.

A multiplication with its addition counts as two operations. Only matrix products,
convolutions and Fourier transforms count; what is computed twice to save memory
counts once. Frames of the padding at the ends of convolutions cost nothing.
"""

import math
from collections.abc import Iterable

from mixit_jax.separator.bs_locoformer import SeparatorConfig, num_frames


def forward_flops(config: SeparatorConfig, samples: int) -> dict[str, float]:
  """Operations to separate one mixture.

  Args:
    config: sizes of the separator.
    samples: length L of the mixture.

  Returns:
    Operations of each part: "band_split", "feed_forward", "attention" (its linear
    layers too), "decoder" and "fourier" (STFT and its inverse).
  """
  c = config
  frames, bands = num_frames(samples, c.n_fft, c.hop), len(c.bands)
  places = frames * bands
  # Both paths of every block: two feed-forward layers of two convolutions each.
  tap = c.embed_dim * 2 * c.ffn_dim + c.ffn_dim * c.embed_dim
  feed_forward = 2 * 2 * places * c.kernel_size * tap
  linear = 2 * places * 4 * c.embed_dim**2
  # Logits and weighted sums of each query with the keys of its sequence.
  frequency, time = (4 * places * length * c.embed_dim for length in (bands, frames))
  bins = c.n_fft // 2 + 1
  parts = 2 * c.num_channels  # real and imaginary
  hidden = 4 * c.embed_dim
  layers = bands * (c.embed_dim * hidden + hidden**2)
  transforms = c.num_channels * (1 + c.num_sources) * (frames + 1)
  return {
    "band_split": 2.0 * frames * bins * parts * c.embed_dim,
    "feed_forward": 2.0 * c.num_blocks * feed_forward,
    "attention": 1.0 * c.num_blocks * (2 * linear + frequency + time),
    "decoder": 2.0 * frames * (layers + bins * hidden * 2 * parts * c.num_sources),
    "fourier": transforms * 2.5 * c.n_fft * math.log2(c.n_fft),
  }


def step_flops(
  config: SeparatorConfig, samples: int, frozen: Iterable[str] = ()
) -> float:
  """Operations of one example of a training step, forward and backward.

  The gradients of a layer cost its forward pass twice, for its input and for its
  parameters; the second part falls away where the parameters are frozen.

  Args:
    config: sizes of the separator.
    samples: length L of the example.
    frozen: groups of parameters that do not train ("blocks").
  """
  parts = forward_flops(config, samples)
  blocks = parts.pop("feed_forward") + parts.pop("attention")
  return 3 * sum(parts.values()) + (2 if "blocks" in frozen else 3) * blocks
