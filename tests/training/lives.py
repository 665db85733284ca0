"""Runs as real processes, to be killed and started again."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from mixit_jax.weights import runs

TESTS = Path(__file__).parent.parent

# Everything that a restart must keep: running mean, dropout, validations, best list.
OVERRIDES = {
  "mesh.fsdp": 1,
  "optimizer.ema": 0.9,
  "model.dropout": 0.1,
  "run.steps": 6,
  "run.steps_per_epoch": 3,
  "run.batch": 4,
  "run.log_every": 1,
  "run.save_every": 1,
  "valid.examples": 64,
  "valid.media": 0,
}

# What a step reports of itself and not of the clock.
_OF_THE_CLOCK = {
  "time",
  "examples_per_second",
  "flops_per_second",
  "seconds_per_step",
  "seconds_left",
  "seconds_waiting_for_data",
  "share_waiting_for_data",
  "memory_gib",
}

_CONFIG = """
import sys
sys.path.insert(0, {tests!r})
from training.tiny import finetune_config, pretrain_config

def get_config(kind):
  make = pretrain_config if kind == "mixit" else finetune_config
  return make({music!r})
"""


class Life:
  """A process of `python -m mixit_jax.main`."""

  def __init__(self, music, workdir, kind="mixit", devices=1, cluster=None, **options):
    """Starts it.

    Args:
      music: folder of the tiny data set.
      workdir: the run's directory.
      kind: "mixit" or "stems".
      devices: virtual devices of the process.
      cluster: port of the first of two processes and number of this one.
      **options: "overrides", added to `base`, "prefix", "environment" and "log".
    """
    self.workdir = Path(workdir)
    folder = self.workdir.parent / "start"
    folder.mkdir(exist_ok=True)
    config = folder / "config.py"
    if not config.exists():
      config.write_text(_CONFIG.format(tests=str(TESTS), music=str(music)))
      # tensorboardX imports torch where it finds it, for seconds.
      (folder / "torch.py").write_text("raise ImportError\n")
    overrides = options.get("base", OVERRIDES) | options.get("overrides", {})
    environment = {
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
      "--xla_backend_optimization_level=0",
      # Not that of the other tests: a kill may tear an entry.
      "JAX_COMPILATION_CACHE_DIR": str(TESTS.parent / ".pytest_cache/xla_lives"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "PYTHONPATH": f"{folder}:{TESTS.parent}",
    } | options.get("environment", {})
    if cluster is not None:
      port, number = cluster
      overrides |= {"mesh.distributed": "on"}
      environment |= {
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(number),
      }
    log = options.get("log", cluster and cluster[1])
    self._log = (folder / f"log-{log}").open("w+")
    self.process = subprocess.Popen(
      [
        *options.get("prefix", []),
        sys.executable,
        "-m",
        "mixit_jax.main",
        f"--config={config}:{kind}",
        f"--workdir={self.workdir}",
        *(f"--config.{key}={value}" for key, value in overrides.items()),
      ],
      env=environment,
      stdout=self._log,
      stderr=self._log,
      cwd=self.workdir.parent,
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self.process.poll() is None:
      self.process.kill()
      self.process.wait()
    self._log.close()

  @property
  def log(self):
    """What it has said so far."""
    self._log.flush()
    return Path(self._log.name).read_text()

  def wait_for(self, condition, seconds=400):
    """Waits until a condition holds; false when the process ended before."""
    end = time.monotonic() + seconds
    while not condition():
      if self.process.poll() is not None:
        return False
      assert time.monotonic() < end, self.log[-3000:]
      time.sleep(0.001)
    return True

  def wait(self, status=0, seconds=400):
    """Waits for the end and checks the exit status; returns what was said."""
    assert self.process.wait(seconds) == status, self.log[-3000:]
    return self.log

  def saving(self, step):
    """A condition: the checkpoint of a step is being written."""
    folder = self.workdir / "checkpoints" / f"{step}.orbax-checkpoint-tmp"
    return folder.exists

  def said(self, text):
    """A condition: a text was printed."""
    return lambda: text in self.log


def live(music, workdir, status=0, **options):
  """One life to its end; returns what it said."""
  with Life(music, workdir, **options) as life:
    return life.wait(status)


def reports(run, group):
  """Reports of a run without what the clock has measured."""
  lines = (run / "metrics.jsonl").read_text().splitlines()
  return [
    {name: value for name, value in line.items() if name not in _OF_THE_CLOCK}
    for line in map(json.loads, lines)
    if line["group"] == group
  ]


def stored_state(run, step):
  """The whole state of a checkpoint as host arrays, by path."""
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    folder = run.absolute() / "checkpoints" / str(step) / "state"
    tree = checkpointer.metadata(folder).item_metadata.tree
    arrays = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
    restore = ocp.checkpoint_utils.construct_restore_args(arrays)
    state = checkpointer.restore(
      folder, args=ocp.args.PyTreeRestore(item=arrays, restore_args=restore)
    )
  leaves = jax.tree_util.tree_flatten_with_path(state)[0]
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def assert_same_states(one, other):
  assert one.keys() == other.keys()
  for name, leaf in one.items():
    np.testing.assert_array_equal(leaf, other[name], err_msg=name)


def assert_same_end(run, reference):
  """Two runs have reached the same state, to the bit, and reported the same."""
  last = runs.checkpoint_steps(reference)[-1]
  assert runs.checkpoint_steps(run)[-1] == last
  state = stored_state(run, last)
  for part in ("params", "opt_state", "ema"):
    assert any(name.startswith(f"['{part}']") for name in state)
  assert_same_states(state, stored_state(reference, last))
  assert runs.valid_losses(run) == runs.valid_losses(reference)
  for group in ("train", "valid"):
    ours, theirs = reports(run, group), reports(reference, group)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
      assert one == other
