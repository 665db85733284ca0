"""A separator's weights: folders, runs, PyTorch files and model cards."""

from mixit_jax.weights.torch_weights import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
