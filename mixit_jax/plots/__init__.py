"""Plots of runs and of scores, as files."""
