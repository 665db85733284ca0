"""TF-Locoformer blocks in PyTorch (TF-Locoformer paper; no positional encoding)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.baseline.config import BaselineConfig


class RMSGroupNorm(nn.Module):
  """RMS normalization of the last axis in groups of features, in float32."""

  def __init__(self, features: int, num_groups: int, eps: float = 1e-5):
    super().__init__()
    self.num_groups = num_groups
    self.eps = eps
    self.gamma = nn.Parameter(torch.ones(features))

  def forward(self, x: Tensor) -> Tensor:
    """Normalize `x` [..., D] and keep its shape."""
    groups = x.float().unflatten(-1, (self.num_groups, -1))
    # The norm has a zero subgradient where a group vanishes; sqrt would give NaN.
    rms = torch.linalg.vector_norm(groups, dim=-1, keepdim=True)
    rms = rms * groups.shape[-1] ** -0.5
    return (groups / (rms + self.eps)).flatten(-2) * self.gamma


class ConvSwiGLU(nn.Module):
  """Convolutional feed-forward network with a SwiGLU gate."""

  def __init__(self, features: int, hidden: int, kernel_size: int, dropout: float):
    super().__init__()
    # Padding of both convolutions: the hidden sequence has length + kernel - 1
    # samples and the output has the length of the input again.
    pad = kernel_size - 1
    self.conv1d = nn.Conv1d(features, 2 * hidden, kernel_size, padding=pad)
    self.deconv1d = nn.ConvTranspose1d(hidden, features, kernel_size, padding=pad)
    self.dropout = nn.Dropout(dropout)

  def forward(self, x: Tensor) -> Tensor:
    """Map sequences `x` [S, L, D] to [S, L, D]."""
    value, gate = self.conv1d(x.transpose(1, 2)).chunk(2, dim=1)
    hidden = self.dropout(value * functional.silu(gate))
    return self.dropout(self.deconv1d(hidden)).transpose(1, 2)


class SelfAttention(nn.Module):
  """Multi-head self-attention without biases."""

  def __init__(self, features: int, num_heads: int, dropout: float, fused: bool):
    super().__init__()
    self.num_heads = num_heads
    self.attention_dropout = dropout
    self.fused = fused
    self.qkv = nn.Linear(features, 3 * features, bias=False)
    self.aggregate_heads = nn.Sequential(
      nn.Linear(features, features, bias=False), nn.Dropout(dropout)
    )

  def forward(self, x: Tensor) -> Tensor:
    """Map sequences `x` [S, L, D] to [S, L, D]."""
    heads = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
    query, key, value = heads.permute(2, 0, 3, 1, 4)  # each [S, heads, L, D/heads]
    dropout = self.attention_dropout if self.training else 0.0
    if self.fused:
      out = functional.scaled_dot_product_attention(
        query, key, value, dropout_p=dropout
      )
    else:
      logits = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
      out = functional.dropout(logits.softmax(-1), dropout) @ value
    return self.aggregate_heads(out.transpose(1, 2).flatten(-2))


class LocoformerPath(nn.Module):
  """Feed-forward, attention, feed-forward over one axis, each with a residual."""

  def __init__(self, config: BaselineConfig):
    super().__init__()
    features, groups, dropout = config.embed_dim, config.num_groups, config.dropout
    self.ffn_norm = nn.ModuleList(RMSGroupNorm(features, groups) for _ in range(2))
    self.ffn = nn.ModuleList(
      ConvSwiGLU(features, config.ffn_dim, config.kernel_size, dropout)
      for _ in range(2)
    )
    self.attn_norm = RMSGroupNorm(features, groups)
    self.attn = SelfAttention(
      features, config.num_heads, dropout, config.fused_attention
    )

  def forward(self, x: Tensor) -> Tensor:
    """Map sequences `x` [S, L, D] to [S, L, D]."""
    x = x + self.ffn[1](self.ffn_norm[1](x))
    x = x + self.attn(self.attn_norm(x))
    return x + self.ffn[0](self.ffn_norm[0](x))


class TFLocoformerBlock(nn.Module):
  """A path over the bands of every frame, then one over the frames of every band."""

  def __init__(self, config: BaselineConfig):
    super().__init__()
    self.freq_path = LocoformerPath(config)
    self.frame_path = LocoformerPath(config)

  def forward(self, x: Tensor) -> Tensor:
    """Map features `x` [B, T, K, D] to [B, T, K, D]."""
    batch = x.shape[0]
    x = self.freq_path(x.flatten(0, 1)).unflatten(0, (batch, -1))
    x = self.frame_path(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, -1))
    return x.transpose(1, 2)
