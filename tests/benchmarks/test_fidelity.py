"""The table of distances to the reference vectors, and the document that shows it."""

import numpy as np
import pytest

from benchmarks.fidelity import largest, measure, relative


@pytest.fixture(scope="module")
def rows():
  return list(measure())


def test_every_stage_is_within_its_tolerance(rows):
  assert len(rows) == 24
  for row in rows:
    assert row.error <= row.tolerance, row


def test_the_document_shows_every_stage(rows, request):
  text = (request.config.rootpath / "docs/fidelity.md").read_text()
  for row in rows:
    tolerance = f"{row.tolerance:.1e}" if row.tolerance else "0"
    (line,) = (x for x in text.splitlines() if x.startswith(f"| {row.stage} |"))
    assert line.endswith(f"| {row.measure} | {tolerance} |")
    shown = float(line.split("|")[2])
    assert shown <= row.tolerance
    assert row.error <= 10 * shown + 1e-6 * row.tolerance + 1e-7


def test_distances_are_what_they_say():
  assert relative(np.array([3.0, 0.0]), np.array([3.0, 4.0])) == pytest.approx(0.8)
  nan = float("nan")
  assert largest(np.array([1.0, nan]), np.array([1.5, nan])) == 0.5
  assert largest(np.array([1.0, 1.0]), np.array([1.5, nan])) == float("inf")
