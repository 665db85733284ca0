"""Fixtures of the tests of scores."""

from pathlib import Path

import pytest
from evaluation.song_files import Songs


@pytest.fixture
def songs(tmp_path: Path) -> Songs:
  """Makes songs; there are none yet."""
  return Songs(tmp_path)
