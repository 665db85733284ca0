"""Two real processes against one: the same recipe, the same losses."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
import sys
sys.path.insert(0, {tests!r})
from training.tiny import pretrain_config, finetune_config
from mixit_jax.training.config import config_dict

def get_config(kind):
  make = pretrain_config if kind == "mixit" else finetune_config
  return config_dict(make({music!r}))
"""


def start(config, workdir, kind, devices, process=None, count=2, port=0):
  environment = {
    **os.environ,
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
  }
  distributed = "off"
  if process is not None:
    distributed = "on"
    environment |= {
      "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
      "JAX_NUM_PROCESSES": str(count),
      "JAX_PROCESS_ID": str(process),
    }
  command = [
    sys.executable, "-m", "mixit_jax.main", f"--config={config}:{kind}",
    f"--workdir={workdir}", f"--config.mesh.distributed={distributed}",
    "--config.mesh.fsdp=2", "--config.run.steps=4", "--config.run.log_every=1",
    "--config.valid.media=0",
  ]  # fmt: skip
  return subprocess.Popen(
    command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  )


def finish(process):
  try:
    _, errors = process.communicate(timeout=400)
  except subprocess.TimeoutExpired:
    process.kill()
    raise
  assert process.returncode == 0, errors[-3000:]


def losses(workdir):
  lines = [
    json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  return [line["loss"] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixit", "stems"])
def test_two_processes_train_like_one(kind, music, tmp_path):
  config = tmp_path / "config.py"
  tests = Path(__file__).parent.parent
  config.write_text(CONFIG.format(tests=str(tests), music=str(music)))
  finish(start(config, tmp_path / "one", kind, devices=4))
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  two = [
    start(config, tmp_path / "two", kind, devices=2, process=i, port=port)
    for i in range(2)
  ]
  for process in two:
    finish(process)
  assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=2e-3)
