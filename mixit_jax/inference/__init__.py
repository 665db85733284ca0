"""Trained separators at work: load, separate, select channels, evaluate."""
