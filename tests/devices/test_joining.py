"""Processes that find each other, or wait for one that never comes."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from devices.launchers import PREFIXES, SLURM_NODES


def test_two_tasks_of_srun_find_each_other_and_keep_all_their_gpus():
  script = """
import jax
from mixit_jax.devices import start as devices
devices.start("auto")
print(jax.process_count(), jax.process_index(), jax.device_count(), end=" ")
print(jax.config._read("jax_cuda_visible_devices"))
"""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = str(free.getsockname()[1])
  environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIXES)}
  environment |= SLURM_NODES | {
    "SLURM_STEP_NODELIST": "localhost",
    "JAX_COORDINATOR_PORT": port,
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
  }
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", script],
      env=environment | {"SLURM_PROCID": str(i), "SLURM_NODEID": str(i)},
      stdout=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  try:
    outputs = [process.communicate(timeout=120)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert outputs == ["2 0 4 all\n", "2 1 4 all\n"]


WAIT = """
import sys
from mixit_jax.console import run_command
from mixit_jax.devices import start

def wait():
  start.PATIENCE = float(sys.argv[1])
  start.start("auto")

sys.exit(run_command(wait))
"""


@pytest.fixture
def waiting():
  """Starts a process that waits for another one, which never comes."""
  processes = []

  def begin(number, patience):
    with socket.socket() as free:
      free.bind(("localhost", 0))
      address = f"localhost:{free.getsockname()[1]}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIXES)}
    environment |= {
      "JAX_COORDINATOR_ADDRESS": address,
      "JAX_NUM_PROCESSES": "2",
      "JAX_PROCESS_ID": str(number),
    }
    process = subprocess.Popen(
      [sys.executable, "-c", WAIT, str(patience)],
      env=environment,
      stderr=subprocess.PIPE,
      text=True,
    )
    processes.append(process)
    line = next(line for line in process.stderr if "waits" in line)
    assert f"process {number} waits for 1 other process(es) at {address}" in line
    return process

  yield begin
  for process in processes:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [0, 1])
def test_waiting_for_nobody_ends_with_one_line(waiting, number):
  process = waiting(number, patience=2)
  (line,) = process.communicate(timeout=30)[1].splitlines()
  assert process.returncode == 1
  assert line.startswith("error: the processes could not be connected (process")
  assert "for 2 s in vain" in line


@pytest.mark.parametrize(("sent", "status"), [("SIGINT", 130), ("SIGTERM", -15)])
def test_waiting_can_be_ended(waiting, sent, status):
  process = waiting(0, patience=300)
  process.send_signal(getattr(signal, sent))
  said = process.communicate(timeout=20)[1]
  assert process.returncode == status
  assert said in ("interrupted\n", "")
