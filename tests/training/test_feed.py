import os
import signal
import threading

import jax
import numpy as np
import pytest
from training.tiny import pretrain_config

from mixit_jax.data.batches import HostBatches
from mixit_jax.data.records import RecordError
from mixit_jax.training import loop
from mixit_jax.training.feed import Feed
from mixit_jax.training.loop import train
from mixit_jax.training.telemetry import Telemetry
from mixit_jax.weights import runs


def numbered(broken=None):
  for number in range(100):
    if number == broken:
      raise RecordError(f"record of batch {number}")
    yield {"index": np.array([number])}


def test_batches_come_in_order_prepared_or_not():
  drawn = []
  feed = Feed(numbered(), lambda batch: drawn.append(int(batch["index"][0])))
  assert drawn == []
  for number in range(6):
    if number % 2:
      feed.prepare()
      feed.prepare()  # never more than one ahead
      assert drawn[-1] == number
    batch, _ = feed.take()
    assert batch["index"] == number == drawn[-1]


def test_an_error_waits_for_its_own_batch():
  feed = Feed(numbered(broken=1), lambda batch: batch)
  feed.take()
  feed.prepare()
  with pytest.raises(RecordError, match="batch 1"):
    feed.take()


@pytest.fixture
def draws(monkeypatch):
  """Numbers the batches that a run draws; the one that is `broken` raises."""

  class Draws:
    count, broken = 0, None

  seen, draw = Draws(), HostBatches.__next__

  def counted(self):
    seen.count += 1
    if seen.count == seen.broken:
      raise RecordError(f"batch {seen.count} is broken")
    return draw(self)

  monkeypatch.setattr(HostBatches, "__next__", counted)
  return seen


def without_validation(music, **run):
  return pretrain_config(music, **{"steps_per_epoch": 100, "save_every": 1} | run)


def test_no_batch_is_drawn_beyond_the_last_step(music, tmp_path, draws, monkeypatch):
  monkeypatch.setattr(loop, "_is_validated", lambda config, step: False)
  before = set(threading.enumerate())
  draws.broken = 4
  train(without_validation(music, steps=3), tmp_path)
  assert draws.count == 3
  assert set(threading.enumerate()) <= before
  assert runs.checkpoint_steps(tmp_path)[-1] == 3


def test_a_broken_batch_ends_the_run_at_its_own_step(music, tmp_path, draws):
  draws.broken = 3
  with pytest.raises(RecordError, match="batch 3 is broken"):
    train(without_validation(music), tmp_path)
  # Step 2, in which it was drawn, has been reported and saved.
  assert max(runs.checkpoint_steps(tmp_path)) == 2
  assert '"step": 2' in (tmp_path / "metrics.jsonl").read_text()


def test_the_next_batch_is_put_before_a_step_is_reported(
  music, tmp_path, draws, monkeypatch
):
  monkeypatch.setattr(loop, "_is_validated", lambda config, step: False)
  ahead, advance = [], Telemetry.advance
  monkeypatch.setattr(
    Telemetry,
    "advance",
    lambda self, step: (ahead.append(draws.count - step), advance(self, step)),
  )
  train(without_validation(music, steps=4), tmp_path)
  assert ahead == [1, 1, 1, 0]


def test_a_stop_amid_drawing_resumes_with_the_batch_that_was_drawn(
  music, pretrained, tmp_path, monkeypatch
):
  prepare = Feed.prepare
  calls = []

  def stopping(self):
    calls.append(None)
    if len(calls) == 4:
      os.kill(os.getpid(), signal.SIGTERM)
    prepare(self)

  monkeypatch.setattr(Feed, "prepare", stopping)
  train(pretrain_config(music), tmp_path)
  assert max(runs.checkpoint_steps(tmp_path)) < 8
  train(pretrain_config(music), tmp_path)
  found, expected = (runs.load_params(run, [8]) for run in (tmp_path, pretrained))
  jax.tree.map(np.testing.assert_array_equal, found, expected)
