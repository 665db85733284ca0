"""Unsupervised pre-training for music source separation in JAX."""
