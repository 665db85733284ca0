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

from mixit_jax.separator.convolution import correlate

# Results of the matrix products: a policy may save them and recompute the rest.
SAVED_PRODUCTS = ("expanded", "contracted", "qkv", "attended", "projected")

Initializer = Callable[..., Array]


def uniform_fan_in(fan_in: int) -> Initializer:
  """PyTorch's default initializer: uniform in +-1/sqrt(fan_in)."""
  bound = 1 / math.sqrt(fan_in)

  def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def fold_in_each(keys: Array | None, data: int | Array) -> Array | None:
  """Folds a number into every key [B]; None stays None."""
  if keys is None:
    return None
  return jax.vmap(jax.random.fold_in, (0, None))(keys, data)


def dropout(x: Array, rate: float, keys: Array | None, site: int) -> Array:
  """Sets values to zero at random, with masks that follow from each example's key.

  Args:
    x: values [B, ..., D] with an even D or not.
    rate: share of the values to drop, to a 65536th.
    keys: one key per example [B], or None for no dropout.
    site: number of this place among those that share the keys.

  Returns:
    Values of the same shape and expectation.
  """
  if keys is None or rate == 0:
    return x
  threshold = round(rate * 2**16)
  size = math.prod(x.shape[1:])

  def draw(key: Array) -> Array:
    words = jax.random.bits(jax.random.fold_in(key, site), (-(-size // 2),))
    return jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:size]

  kept = jax.vmap(draw)(keys).reshape(x.shape) >= threshold
  return jnp.where(kept, x * (2**16 / (2**16 - threshold)), jnp.zeros((), x.dtype))


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
    features = x.shape[-1]
    gain = self.param("gain", nn.initializers.ones, (features,))
    grouped = x.astype(jnp.float32).reshape(*x.shape[:-1], self.num_groups, -1)
    # The small constant keeps the gradient at zero finite.
    rms = jnp.sqrt(jnp.mean(grouped**2, -1, keepdims=True) + 1e-24)
    normalized = (grouped / (rms + 1e-5)).reshape(x.shape)
    return (normalized * _aligned(gain, x)).astype(self.dtype)


class ConvSwiGLU(nn.Module):
  """Feed-forward layer: convolution, SwiGLU, transposed convolution.

  Both are written as correlations; the kernel of the second is that of the
  transposed convolution with its taps in reverse order.

  Attributes:
    hidden_dim: features after the gate.
    kernel_size: taps of both convolutions.
    axis: sequence axis of [B, T, K, D].
    dropout: rate after the gate and after the output.
    dtype: type of the computation.
  """

  hidden_dim: int
  kernel_size: int
  axis: int
  dropout: float
  dtype: str

  @nn.compact
  def __call__(self, x: Array, keys: Array | None, site: int) -> Array:
    """Transforms x [B, T, K, D]; uses two dropout sites, from `site` on."""
    dim, size = x.shape[-1], self.kernel_size
    in_init, out_init = uniform_fan_in(dim * size), uniform_fan_in(dim * size)
    in_kernel = self.param("in_kernel", in_init, (size, dim, 2 * self.hidden_dim))
    in_bias = self.param("in_bias", in_init, (2 * self.hidden_dim,))
    out_kernel = self.param("out_kernel", out_init, (size, self.hidden_dim, dim))
    out_bias = self.param("out_bias", out_init, (dim,))
    x = correlate(x, in_kernel.astype(self.dtype), self.axis, size - 1)
    x = checkpoint_name(x + _aligned(in_bias.astype(self.dtype), x), "expanded")
    value, gate = jnp.split(x, 2, -1)
    x = dropout(value * nn.silu(gate), self.dropout, keys, site)
    x = correlate(x, out_kernel.astype(self.dtype), self.axis)
    x = checkpoint_name(x + _aligned(out_bias.astype(self.dtype), x), "contracted")
    return dropout(x, self.dropout, keys, site + 1)


class SelfAttention(nn.Module):
  """Multi-head self-attention along one axis, without positional encoding.

  Attributes:
    num_heads: heads, a divisor of D.
    axis: sequence axis of [B, T, K, D].
    dropout: rate after the output.
    attention_dropout: rate on the attention weights ("xla" only).
    implementation: "xla" (any platform) or "cudnn" (fused, GPU).
    dtype: type of the computation.
  """

  num_heads: int
  axis: int
  dropout: float
  attention_dropout: float
  implementation: str
  dtype: str

  @nn.compact
  def __call__(self, x: Array, keys: Array | None, site: int) -> Array:
    """Transforms x [B, T, K, D]; uses two dropout sites, from `site` on."""
    dim = x.shape[-1]
    init = uniform_fan_in(dim)
    qkv_kernel = self.param("qkv_kernel", init, (dim, 3 * dim)).astype(self.dtype)
    out_kernel = self.param("out_kernel", init, (dim, dim)).astype(self.dtype)
    qkv = checkpoint_name(x @ qkv_kernel, "qkv")
    q, k, v = (
      part.reshape(*x.shape[:-1], self.num_heads, -1) for part in jnp.split(qkv, 3, -1)
    )
    if self.implementation == "cudnn":
      x = _fused_attention(q, k, v, self.axis)
    else:
      x = self._attention(q, k, v, keys, site)
    x = checkpoint_name(x.reshape(*x.shape[:-2], dim), "attended")
    x = checkpoint_name(x @ out_kernel, "projected")
    return dropout(x, self.dropout, keys, site + 1)

  def _attention(
    self, q: Array, k: Array, v: Array, keys: Array | None, site: int
  ) -> Array:
    """Attention of q, k, v [B, T, K, H, d] with materialized weights."""
    along = ("btkhd,bskhd->bkhts", "bkhts,bskhd->btkhd")
    across = ("btkhd,btshd->bthks", "bthks,btshd->btkhd")
    scores, mix = along if self.axis == 1 else across
    q = q * (q.shape[-1] ** -0.5)
    logits = jnp.einsum(scores, q, k, preferred_element_type=jnp.float32)
    weights = nn.softmax(logits).astype(self.dtype)
    weights = dropout(weights, self.attention_dropout, keys, site)
    return jnp.einsum(mix, weights, v)


def _fused_attention(q: Array, k: Array, v: Array, axis: int) -> Array:
  """Fused attention of q, k, v [B, T, K, H, d]; the bands act as heads in time."""
  shape = q.shape
  batch, time, bands, heads, dim = shape
  folded = (batch, time, bands * heads, dim)
  if axis == 2:
    folded = (batch * time, bands, heads, dim)
  q, k, v = (part.reshape(folded) for part in (q, k, v))
  return jax.nn.dot_product_attention(q, k, v, implementation="cudnn").reshape(shape)


def _aligned(vector: Array, x: Array) -> Array:
  """Vector [D] with the rank of x [..., D]."""
  return vector.reshape((1,) * (x.ndim - 1) + vector.shape)


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
  """Half of a block: feed-forward, attention, feed-forward along one axis.

  Attributes:
    settings: shared by all blocks.
    axis: sequence axis of [B, T, K, D], 1 (time) or 2 (bands).
  """

  settings: LocoformerSettings
  axis: int

  def setup(self) -> None:
    """Creates the three layers and their norms."""
    s = self.settings
    ffn = partial(ConvSwiGLU, s.ffn_dim, s.kernel_size, self.axis, s.dropout, s.dtype)
    norm = partial(RMSGroupNorm, s.num_groups, s.dtype)
    self.first_norm, self.first_ffn = norm(), ffn()
    self.attention_norm = norm()
    self.attention = SelfAttention(
      s.num_heads, self.axis, s.dropout, s.attention_dropout, s.attention, s.dtype
    )
    self.last_norm, self.last_ffn = norm(), ffn()

  def __call__(self, x: Array, keys: Array | None) -> Array:
    """Transforms x [B, T, K, D] with dropout keys [B] or None."""
    keys = fold_in_each(keys, self.axis)
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
    self.frequency = TFLocoformerPath(self.settings, axis=2)
    self.time = TFLocoformerPath(self.settings, axis=1)

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
    return self.time(self.frequency(x, keys), keys), None
