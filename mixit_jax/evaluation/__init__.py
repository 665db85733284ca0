"""Scores, channel selection and their tables."""
