import math

import pytest

from mixit_jax.training import progress
from mixit_jax.training.progress import (
  Progress,
  best_step,
  describe,
  duration,
  is_spent,
)


def test_the_best_validation_is_the_first_of_the_lowest():
  assert best_step({}) is None
  assert best_step({1: math.nan}) is None
  assert best_step({10: -1.0, 20: -3.0, 30: math.nan, 40: -3.0, 50: -2.0}) == 20


@pytest.mark.parametrize(
  ("losses", "patience", "spent"),
  [
    ([], 1, False),
    ([3.0], 1, False),
    ([3.0, 4.0], 1, True),
    ([3.0, 4.0], 2, False),
    ([3.0, 4.0, 3.0], 2, True),  # as good is not better
    ([3.0, 4.0, 2.0], 2, False),
    ([math.nan, math.nan], 2, True),
    ([3.0, 4.0, 5.0], 0, False),
  ],
)
def test_patience_counts_validations_in_a_row(losses, patience, spent):
  assert is_spent({10 * i: loss for i, loss in enumerate(losses)}, patience) is spent


def test_the_time_left_follows_from_the_steps_so_far(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
  run = Progress(1000)
  now[0] += 60  # compiling
  assert run.seconds_left(500) is None
  now[0] += 20
  assert run.seconds_left(510) == pytest.approx(2 * 490)
  now[0] += 980
  assert run.seconds_left(1000) == 0


def test_a_line_says_what_is_known():
  assert describe({}, None) == ""
  assert describe({400: -3.14159, 800: -2}, None) == "best -3.142 at 400"
  assert describe({400: -3.0}, 7980.0) == "best -3 at 400, 2 h 13 min left"


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (0, "0 s"),
    (59.4, "59 s"),
    (59.6, "1 min"),
    (3570, "1 h 0 min"),
    (172_800, "2 d 0 h"),
    (190_000, "2 d 4 h"),
  ],
)
def test_times_have_two_units(seconds, text):
  assert duration(seconds) == text
