"""The layers of the TF-Locoformer block (paper 4.2)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from mixit_jax.separator.attention import ATTENDED, attend
from mixit_jax.separator.convolution import correlate
from mixit_jax.separator.dropout import dropout, fold_in_each

# Results of the matrix products: a policy may save them and recompute the rest.
SAVED_PRODUCTS = ("expanded", "contracted", "qkv", "projected", ATTENDED)

Initializer = Callable[..., Array]


def uniform_fan_in(fan_in: int) -> Initializer:
  """PyTorch's default initializer: uniform in +-1/sqrt(fan_in)."""
  bound = 1 / math.sqrt(fan_in)

  def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class RMSGroupNorm(nn.Module):
  """Divides groups of features by their root mean square, in float32.

  Attributes:
    num_groups: groups into which the features [..., D] are cut.
    dtype: type of the result.
  """

  num_groups: int
  dtype: str

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Normalizes x [..., D]."""
    gain = self.param("gain", nn.initializers.ones, x.shape[-1:])
    return _rms_group_norm(x, _apart(gain), self.num_groups).astype(self.dtype)


# Of the cheap steps only the inputs are kept for the backward pass.
@partial(jax.checkpoint, prevent_cse=False, static_argnums=2)
def _rms_group_norm(x: Array, gain: Array, num_groups: int) -> Array:
  grouped = x.astype(jnp.float32).reshape(*x.shape[:-1], num_groups, -1)
  # The small constant keeps the gradient at zero finite.
  rms = jnp.sqrt(jnp.mean(grouped**2, -1, keepdims=True) + 1e-24)
  return (grouped / (rms + 1e-5)).reshape(x.shape) * _as_rank(gain, x.ndim)


@partial(jax.checkpoint, prevent_cse=False)
def _swiglu(x: Array) -> Array:
  value, gate = jnp.split(x, 2, -1)
  return value * nn.silu(gate)


class ConvSwiGLU(nn.Module):
  """Feed-forward layer: convolution, SwiGLU, transposed convolution.

  Both are written as correlations; the kernel of the second is that of the
  transposed convolution with its taps in reverse order.

  Attributes:
    hidden_dim: features after the gate.
    kernel_size: taps of both convolutions.
    dropout: rate after the gate and after the output.
    dtype: type of the computation.
  """

  hidden_dim: int
  kernel_size: int
  dropout: float
  dtype: str

  @nn.compact
  def __call__(self, x: Array, keys: Array | None, site: int) -> Array:
    """Transforms sequences x [B, S, L, D]; dropout sites: `site`, `site` + 1."""
    dim, size = x.shape[-1], self.kernel_size
    # PyTorch counts the outputs of a transposed convolution: both have D * taps.
    init = uniform_fan_in(dim * size)
    in_kernel = self.param("in_kernel", init, (size, dim, 2 * self.hidden_dim))
    in_bias = self.param("in_bias", init, (2 * self.hidden_dim,))
    out_kernel = self.param("out_kernel", init, (size, self.hidden_dim, dim))
    out_bias = self.param("out_bias", init, (dim,))
    in_bias, out_bias = (
      _as_rank(_apart(bias).astype(self.dtype), x.ndim) for bias in (in_bias, out_bias)
    )
    x = correlate(x, in_kernel.astype(self.dtype), full=True)
    x = checkpoint_name(x + in_bias, "expanded")
    x = dropout(_swiglu(x), self.dropout, keys, site)
    x = correlate(x, out_kernel.astype(self.dtype))
    x = checkpoint_name(x + out_bias, "contracted")
    return dropout(x, self.dropout, keys, site + 1)


class SelfAttention(nn.Module):
  """Multi-head self-attention without positional encoding.

  Attributes:
    num_heads: heads, a divisor of D.
    dropout: rate after the output.
    attention_dropout: rate on the attention weights ("xla" only).
    implementation: "xla" (any platform) or "cudnn" (fused, GPU).
    dtype: type of the computation.
  """

  num_heads: int
  dropout: float
  attention_dropout: float
  implementation: str
  dtype: str

  @nn.compact
  def __call__(self, x: Array, keys: Array | None, site: int) -> Array:
    """Transforms sequences x [B, S, L, D]; dropout sites: `site`, `site` + 1."""
    dim = x.shape[-1]
    init = uniform_fan_in(dim)
    qkv_kernel = self.param("qkv_kernel", init, (dim, 3 * dim))
    out_kernel = self.param("out_kernel", init, (dim, dim))
    qkv = checkpoint_name(x @ qkv_kernel.astype(self.dtype), "qkv")
    if self.implementation == "cudnn":
      x = checkpoint_name(self._fused(qkv), ATTENDED)
    else:
      x = self._explicit(qkv, fold_in_each(keys, site))
    x = checkpoint_name(x @ out_kernel.astype(self.dtype), "projected")
    return dropout(x, self.dropout, keys, site + 1)

  def _fused(self, qkv: Array) -> Array:
    """Attention of qkv [B, S, L, 3D] that never stores its weights."""
    batch, sequences, length, _ = qkv.shape
    q, k, v = self._heads(qkv.reshape(batch * sequences, length, -1))
    x = jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    return x.reshape(batch, sequences, length, -1)

  def _explicit(self, qkv: Array, keys: Array | None) -> Array:
    """Attention of qkv [B, S, L, 3D] in plain products."""
    batch, sequences, length, _ = qkv.shape
    # q, k, v as [heads S, B, L, D / heads].
    q, k, v = (
      jnp.transpose(part, (3, 1, 0, 2, 4)).reshape(-1, batch, length, part.shape[-1])
      for part in self._heads(qkv)
    )
    x = attend(q, k, v, keys, self.attention_dropout)
    x = x.reshape(self.num_heads, sequences, *x.shape[1:])
    return jnp.transpose(x, (2, 1, 3, 0, 4)).reshape(*qkv.shape[:3], -1)

  def _heads(self, qkv: Array) -> list[Array]:
    """Cuts qkv [..., 3D] into q, k and v [..., heads, D / heads]."""
    parts = jnp.split(qkv, 3, -1)
    return [part.reshape(*part.shape[:-1], self.num_heads, -1) for part in parts]


def _apart(vector: Array) -> Array:
  """The same vector, computed before the loops that read it.

  In the scan over blocks a vector is a slice of a stack. XLA on CPU computes the place
  of the slice for every element of a loop, which makes the loop 5 times slower. A
  product stays out of loops.
  """
  if jax.default_backend() != "cpu":
    return vector
  return vector @ jnp.eye(len(vector), dtype=vector.dtype)


def _as_rank(vector: Array, rank: int) -> Array:
  """Vector [D] as [1, ..., 1, D]."""
  return vector.reshape((1,) * (rank - 1) + vector.shape)


@dataclass(frozen=True)
class LocoformerSettings:
  """Sizes and choices that all TF-Locoformer blocks of a model share.

  Attributes:
    ffn_dim: hidden features of the feed-forward layers.
    kernel_size: taps of their convolutions.
    num_heads: attention heads.
    num_groups: groups of the norms.
    dropout: rate after attention, gates and feed-forward layers.
    attention_dropout: rate on the attention weights.
    attention: "xla" or "cudnn".
    dtype: type of the computation.
  """

  ffn_dim: int
  kernel_size: int
  num_heads: int
  num_groups: int
  dropout: float
  attention_dropout: float
  attention: str
  dtype: str


class TFLocoformerPath(nn.Module):
  """Half of a block: feed-forward, attention, feed-forward along sequences.

  Attributes:
    settings: shared by all blocks.
  """

  settings: LocoformerSettings

  def setup(self) -> None:
    """Creates the three layers and their norms."""
    s = self.settings
    ffn = partial(ConvSwiGLU, s.ffn_dim, s.kernel_size, s.dropout, s.dtype)
    norm = partial(RMSGroupNorm, s.num_groups, s.dtype)
    self.first_norm, self.first_ffn = norm(), ffn()
    self.attention_norm = norm()
    self.attention = SelfAttention(
      s.num_heads, s.dropout, s.attention_dropout, s.attention, s.dtype
    )
    self.last_norm, self.last_ffn = norm(), ffn()

  def __call__(self, x: Array, keys: Array | None) -> Array:
    """Transforms sequences x [B, S, L, D] with dropout keys [B] or None."""
    x = x + self.first_ffn(self.first_norm(x), keys, 0)
    x = x + self.attention(self.attention_norm(x), keys, 2)
    return x + self.last_ffn(self.last_norm(x), keys, 4)


class TFLocoformerBlock(nn.Module):
  """Models the bands of every frame, then the frames of every band (paper 4.2).

  Attributes:
    settings: shared by all blocks.
  """

  settings: LocoformerSettings

  def setup(self) -> None:
    """Creates the two paths."""
    self.frequency = TFLocoformerPath(self.settings)
    self.time = TFLocoformerPath(self.settings)

  def __call__(self, x: Array, index: Array, keys: Array | None) -> tuple[Array, None]:
    """Transforms features; the second result is for `nn.scan`.

    Args:
      x: features [B, T, K, D].
      index: number of this block, which tells its dropout masks from the others'.
      keys: dropout keys [B], shared by all blocks, or None.

    Returns:
      Features [B, T, K, D] and None.
    """
    keys = fold_in_each(keys, index)
    x = self.frequency(x, fold_in_each(keys, 0))
    x = self.time(jnp.swapaxes(x, 1, 2), fold_in_each(keys, 1))
    return jnp.swapaxes(x, 1, 2), None
