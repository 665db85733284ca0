import functools
import logging
import shutil

import jax
import numpy as np
import pytest
from training.lives import stored_state
from training.tiny import pretrain_config

from mixit_jax.devices.mesh import make_mesh
from mixit_jax.errors import UserError
from mixit_jax.training.checkpoints import Checkpoints
from mixit_jax.training.initialize import state_layout
from mixit_jax.training.restart import restore
from mixit_jax.weights import runs
from mixit_jax.weights.runs import checkpoint_steps, choose_steps, valid_losses

# TensorStore complains of arrays that are still under way when a restore has failed.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def run(pretrained, tmp_path):
  """A copy of a run of 8 devices with checkpoints 4, 6 and 8, among others."""
  return shutil.copytree(pretrained, tmp_path / "run")


@functools.cache
def layout(fsdp=1, devices=1):
  config = pretrain_config("")
  mesh = make_mesh(fsdp, jax.devices()[:devices])
  return state_layout(config, mesh)


def restored(run, like=None):
  """The state that a restart goes on from, as host arrays by path."""
  past = restore(run, like or layout())
  Checkpoints(run, damaged=past.damaged).close()
  return past.state


def assert_is_step(state, run, step):
  assert int(state.step) == step
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]
  stored = stored_state(run, step)
  kept = [leaf for name, leaf in stored.items() if name.startswith("['params']")]
  assert len(leaves) == len(kept)
  assert sorted(map(_bits, leaves)) == sorted(map(_bits, kept))


def _bits(leaf):
  return leaf.shape, leaf.tobytes()


def files(run, step):
  folder = run / "checkpoints" / str(step)
  found = (p for p in folder.rglob("*") if p.is_file())
  return sorted(p for p in found if p.name != "commit_success.txt")  # never read


def flipped(content):
  place = len(content) // 2
  return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def truncated(content):
  return content[: len(content) // 2]


DAMAGES = (None, truncated, flipped)  # None removes the file


@pytest.mark.parametrize(
  "first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))]
)
def test_damage_to_any_file_is_harmless_or_the_checkpoint_before_is_used(
  run, first, caplog
):
  reported = []
  for number, file in enumerate(files(run, 8)):
    damage = DAMAGES[(first + number) % 3]
    copy = shutil.copytree(run, run.parent / f"copy {number}")
    file = copy / file.relative_to(run)
    if damage is None:
      file.unlink()
    else:
      file.write_bytes(damage(file.read_bytes()))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
      state = restored(copy)
    if int(state.step) == 8:
      assert_is_step(state, run, 8)
    else:
      assert "checkpoint 8 in" in caplog.text
      assert "damaged checkpoint 8 is now in" in caplog.text
      assert_is_step(state, run, 6)
      reported.append(file.name)
    shutil.rmtree(copy)
  assert {"manifest.ocdbt", "_METADATA", "metadata"} <= set(reported)


def test_two_damaged_checkpoints_in_a_row_and_again_later(run, pretrained):
  for step in (8, 6):
    (run / "checkpoints" / str(step) / "state/manifest.ocdbt").unlink()
  assert_is_step(restored(run), pretrained, 4)
  damaged = run / "damaged_checkpoints"
  assert sorted(p.name for p in damaged.iterdir()) == ["6", "8"]
  # Step 6 is reached again and damaged again.
  shutil.copytree(pretrained / "checkpoints/6", run / "checkpoints/6")
  (run / "checkpoints/6/state/manifest.ocdbt").write_bytes(b"again")
  assert_is_step(restored(run), pretrained, 4)
  assert (damaged / "6/state/manifest.ocdbt").read_bytes() == b"again"


def test_no_readable_checkpoint_is_an_error(run):
  steps = checkpoint_steps(run)
  for step in steps:
    (run / "checkpoints" / str(step) / "state/manifest.ocdbt").unlink()
  for _ in range(2):  # a restart must not begin anew
    with pytest.raises(UserError, match=r"\(steps 8, 6, 4.* are damaged\)"):
      restored(run)
    assert checkpoint_steps(run) == steps


def test_memory_that_does_not_suffice_is_no_damage(run, monkeypatch):
  def fail(*_, **__):
    raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

  monkeypatch.setattr("mixit_jax.training.restart.checksums", fail)
  with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
    restored(run)
  assert checkpoint_steps(run)[-1] == 8


def test_damaged_validation_losses_cost_only_themselves(run, pretrained):
  (run / "valid_losses.json").write_text('{"4": 1')
  assert valid_losses(run) == {}
  assert_is_step(restored(run), pretrained, 8)
  assert choose_steps(run, "mean") == [8]


def test_losses_of_checkpoints_that_are_set_aside_are_forgotten(run):
  (run / "checkpoints/8/state/manifest.ocdbt").unlink()
  assert sorted(valid_losses(run)) == [4, 8]
  restored(run)
  assert sorted(valid_losses(run)) == [4]


@pytest.mark.parametrize(("fsdp", "devices"), [(1, 1), (1, 8), (4, 8)])
def test_a_state_is_restored_on_other_devices_to_the_bit(pretrained, fsdp, devices):
  like = layout(fsdp, devices)
  state = restored(pretrained, like)
  assert_is_step(state, pretrained, 8)
  shardings = [leaf.sharding for leaf in jax.tree.leaves(like)]
  assert [leaf.sharding for leaf in jax.tree.leaves(state)] == shardings


def test_the_best_follow_the_losses_that_are_recorded_later(run):
  state = restored(run)
  with Checkpoints(run, keep_latest=1, keep_best=1) as checkpoints:
    for step, loss in ((10, -50.0), (11, float("nan")), (12, -40.0), (13, None)):
      checkpoints.save(step, state, {"data_fingerprint": ""})
      assert not checkpoints.has_loss(step)
      if loss is not None:
        checkpoints.record_loss(step, loss)
        assert checkpoints.has_loss(step)
  assert checkpoint_steps(run) == [10, 13]
  assert choose_steps(run, "best") == [10]


def test_what_killed_saves_have_left_is_removed(run):
  for name in ("9.orbax-checkpoint-tmp", "12.orbax-checkpoint-tmp"):
    shutil.copytree(run / "checkpoints/8", run / "checkpoints" / name)
  state = restore(run, layout()).state
  assert len(list((run / "checkpoints").glob("*tmp"))) == 2  # nothing changed
  with Checkpoints(run) as checkpoints:
    checkpoints.save(10, state, {})
  assert all(p.name.isdecimal() for p in (run / "checkpoints").iterdir())
  assert checkpoint_steps(run)[-1] == 10


def test_nothing_is_the_best_before_a_validation(run):
  (run / "valid_losses.json").unlink()
  with pytest.raises(UserError, match="none is the best; choose latest"):
    choose_steps(run, "best")
  assert choose_steps(run, "latest") == [8]


def test_weights_that_are_removed_while_they_are_read_are_chosen_again(
  run, pretrained, monkeypatch
):
  steps, load = choose_steps(run, "mean"), runs.load_params
  calls = []

  def racing(folder, chosen, ema=False):
    calls.append(chosen)
    if len(calls) == 1:  # the run that trains on has better ones
      shutil.rmtree(run / "checkpoints" / str(chosen[0]))
    return load(folder, chosen, ema)

  monkeypatch.setattr(runs, "load_params", racing)
  weights = runs.read_weights(run)
  assert calls == [steps, weights.card["steps"]]
  assert set(weights.card["steps"]) < set(steps)


def test_a_checkpoint_that_is_damaged_and_there_is_called_damaged(run):
  (run / "checkpoints/8/state/manifest.ocdbt").write_bytes(b"")
  with pytest.raises(UserError, match="8 is damaged"):
    runs.read_weights(run, "latest")


@pytest.mark.parametrize(
  ("error", "full"),
  [
    (OSError(28, "No space left on device"), True),
    (OSError(122, "Disk quota exceeded"), True),
    (
      ValueError("UNAVAILABLE: failed [os_error_code='28'] [source locations='x']"),
      True,
    ),
    (ValueError("failed [os_error_code='17'] [x]"), False),
    (RuntimeError("can't start new thread"), False),
    (FileExistsError(17, "File exists"), False),
  ],
)
def test_only_a_full_disk_is_told_to_be_cleared(run, monkeypatch, error, full):
  state = restore(run, layout()).state
  with Checkpoints(run) as checkpoints:

    def fail(*_, **__):
      raise error

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(UserError) as info:
      checkpoints.save(10, state, {})
  assert ("free some space" in str(info.value)) is full
  assert "earlier checkpoints are intact" in str(info.value)
  assert "  " not in str(info.value)


def test_loading_a_run_says_nothing(pretrained, capfd, caplog):
  runs.read_weights(pretrained)
  assert capfd.readouterr().err == ""
  assert not caplog.records
