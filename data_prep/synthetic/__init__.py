"""Synthetic songs: written, played and mixed by rules."""
