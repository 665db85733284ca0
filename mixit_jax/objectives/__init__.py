"""Losses, assignments, channel selection and scores."""
