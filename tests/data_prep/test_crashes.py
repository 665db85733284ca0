import json

import pytest

from data_prep.crashes import MAX_CRASHES, CrashLog
from mixit_jax.errors import UserError


def _die(path, track):
  """What a process leaves that is killed while the track is open."""
  watch = CrashLog(path).watch(track)
  watch.__enter__()
  return watch


def test_a_track_is_given_up_after_three_crashes(tmp_path):
  path = tmp_path / "log"
  dead = [_die(path, "bad.mp3") for _ in range(MAX_CRASHES)]
  log = CrashLog(path)
  with pytest.raises(UserError, match=r"bad.mp3: the process died 3 times"):
    log.watch("bad.mp3").__enter__()
  with log.watch("good.mp3"):
    pass
  assert json.loads(path.read_text()) == {"bad.mp3": len(dead)}


def test_exceptions_are_no_crashes(tmp_path):
  path = tmp_path / "log"
  for _ in range(MAX_CRASHES + 1):
    with pytest.raises(KeyboardInterrupt), CrashLog(path).watch("a.mp3"):
      raise KeyboardInterrupt
  assert json.loads(path.read_text()) == {}


def test_a_log_that_was_cut_is_ignored_and_a_closed_one_is_gone(tmp_path):
  path = tmp_path / "log"
  path.write_text('{"a.mp3": ')
  log = CrashLog(path)
  with log.watch("a.mp3"):
    pass
  log.close()
  assert not path.exists()
