"""Tiny prepared data sets."""

from pathlib import Path

import pytest
from tiny_sets import STEMS, numbered_tracks, write_set


@pytest.fixture(scope="session")
def mixture_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """21 records of 7 tracks in three shards of source "mixture"."""
  tracks = {"mixture": numbered_tracks("track", (7, 5, 9), each=3)}
  return write_set(tmp_path_factory.mktemp("mixtures"), tracks)


@pytest.fixture(scope="session")
def stem_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """Four stems with 6, 7, 8 and 9 records in two shards each."""
  tracks = {
    stem: numbered_tracks(f"{stem}-song", (3 + i, 3), each=2)
    for i, stem in enumerate(STEMS)
  }
  return write_set(tmp_path_factory.mktemp("stems"), tracks)
