"""What compressed files hold, read from their frames and pages alone.

libsndfile trusts headers, stops early or continues over gaps, without an error. PyAV
finds other faults, but not all of these: docs/formats.md has the table of cases.
"""
