"""How a process finds the others: by launcher, variables, or the cloud's metadata."""

import http.server
import logging
import os
import threading

import jax
import pytest
from devices.launchers import GKE, JAX, MPI, MPI_4, PREFIXES, SLURM, SLURM_NODES

from mixit_jax.devices import cluster
from mixit_jax.devices import start as devices
from mixit_jax.errors import UserError

ALONE = None


@pytest.fixture
def started(monkeypatch):
  """Starts under given variables; gives what JAX is told, or None if left alone."""
  for name in list(os.environ):
    if name.startswith(PREFIXES):
      monkeypatch.delenv(name)
  # As JAX sets it where there is no TPU.
  monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")

  def start(variables, distributed="auto"):
    calls = []
    for name, value in variables.items():
      monkeypatch.setenv(name, value)
    monkeypatch.setattr(
      jax.distributed,
      "initialize",
      lambda initialization_timeout, **given: calls.append(given),
    )
    devices.start(distributed)
    assert len(calls) < 2
    return calls[0] if calls else ALONE

  return start


@pytest.fixture
def libtpu(monkeypatch, tmp_path):
  """A machine on which libtpu is installed."""
  (tmp_path / "libtpu.py").write_text("")
  monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def metadata(monkeypatch):
  """A metadata server; its values are set by the test."""
  values = {}

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      value = values.get(self.path.rpartition("/")[2])
      right = value is not None and self.headers["Metadata-Flavor"] == "Google"
      self.send_response(200 if right else 404)
      self.end_headers()
      self.wfile.write((value or "").encode())

    def log_message(self, *_):
      pass

  server = http.server.HTTPServer(("localhost", 0), Handler)
  threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
  monkeypatch.setenv("GCE_METADATA_IP", f"localhost:{server.server_port}")
  yield values
  server.shutdown()
  server.server_close()


def test_a_process_without_a_launcher_is_alone(started):
  assert started({}) is ALONE


def test_jax_variables_are_passed_on_and_nothing_else_is_looked_for(started):
  assert started(JAX) == {
    "coordinator_address": "first:1234",
    "num_processes": 4,
    "process_id": 3,
    "local_device_ids": None,
    "cluster_detection_method": "deactivate",
  }


def test_an_indexed_pod_is_numbered_by_its_index(started):
  pod = {k: v for k, v in JAX.items() if k != "JAX_PROCESS_ID"}
  arguments = started(pod | {"JOB_COMPLETION_INDEX": "2"})
  assert arguments["process_id"] == 2
  assert arguments["num_processes"] == 4


def test_the_process_id_goes_before_the_pod_index(started):
  assert started(JAX | {"JOB_COMPLETION_INDEX": "1"})["process_id"] == 3


def test_an_indexed_pod_without_an_address_trains_alone_and_says_so(started, caplog):
  with caplog.at_level(logging.WARNING):
    assert started({"JOB_COMPLETION_INDEX": "1"}) is ALONE
  assert "this pod trains alone" in caplog.text


def test_tasks_of_srun_are_connected_with_a_gpu_each(started):
  assert started(SLURM) == {
    "num_processes": 8,
    "process_id": 5,
    "local_device_ids": [1],
  }


def test_a_task_alone_on_its_node_has_all_its_gpus(started):
  assert started(SLURM_NODES) == {
    "num_processes": 2,
    "process_id": 1,
    "local_device_ids": [],
  }


@pytest.mark.parametrize(
  ("variables", "gpus"),
  [
    ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [1]),
    ({"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, [2, 3]),
    ({"CUDA_VISIBLE_DEVICES": "3"}, []),  # bound to its own
    ({"CUDA_VISIBLE_DEVICES": ""}, []),
    ({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_GPUS_PER_TASK": "4"}, []),
    ({"JAX_LOCAL_DEVICE_IDS": "2"}, None),  # JAX reads it
  ],
)
def test_tasks_of_a_node_share_its_gpus(started, variables, gpus):
  assert started(SLURM | variables)["local_device_ids"] == gpus


@pytest.mark.parametrize(
  ("text", "counts"),
  [("2(x3),1", [2, 2, 2, 1]), ("4", [4]), ("1,2(x2)", [1, 2, 2]), ("", [])],
)
def test_tasks_per_node_are_read_from_the_short_form(text, counts):
  assert cluster._tasks_per_node(text) == counts


@pytest.mark.parametrize(
  "variables",
  [
    # One task; an allocation of more.
    SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"},
    # A script of sbatch: tasks are promised, none is started.
    {k: v for k, v in SLURM.items() if "STEP" not in k},
    # A shell of salloc, on the login node.
    {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2"},
    MPI_4 | {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
    JAX | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"},
  ],
)
def test_a_single_process_never_waits_for_others(started, variables):
  assert started(variables) is ALONE


def test_older_slurm_counts_tasks_in_one_place_only(started):
  older = {k: v for k, v in SLURM.items() if k != "SLURM_STEP_NUM_TASKS"}
  assert started(older)["num_processes"] == 8


def test_open_mpi_4_is_left_to_jax(started):
  assert started(MPI_4) == {
    "num_processes": 4,
    "process_id": 2,
    "local_device_ids": [0],
  }


def test_open_mpi_5_meets_by_mpi4py(started, monkeypatch, tmp_path):
  (tmp_path / "mpi4py.py").write_text("")
  monkeypatch.syspath_prepend(str(tmp_path))
  assert started(MPI) == {
    "num_processes": 4,
    "process_id": 2,
    "local_device_ids": [0],
    "cluster_detection_method": "mpi4py",
  }


def test_open_mpi_5_needs_mpi4py_or_an_address(started):
  with pytest.raises(UserError, match=r"mpi4py.*JAX_COORDINATOR_ADDRESS"):
    started(MPI)
  arguments = started({"JAX_COORDINATOR_ADDRESS": "first:1234"})
  assert arguments["coordinator_address"] == "first:1234"
  assert (arguments["num_processes"], arguments["process_id"]) == (4, 2)


def test_mpirun_goes_before_the_slurm_job_it_runs_in(started):
  assert started(SLURM | MPI_4)["num_processes"] == 4


def test_a_slice_on_gke_is_left_to_jax(started, libtpu):
  assert started(GKE) == {}


def test_a_slice_on_gke_may_be_told_in_a_file(started, libtpu, tmp_path):
  file = tmp_path / "addresses"
  file.write_text("a:1,b:1\n")
  assert started({"TPU_PROCESS_ADDRESSES_PATH": str(file)}) == {}


def test_names_of_tpu_hosts_mean_nothing_without_libtpu(started):
  assert started(GKE) is ALONE


def test_a_slice_of_one_host_is_alone(started, libtpu):
  assert started({"TPU_WORKER_HOSTNAMES": "localhost"}) is ALONE


def test_a_slice_with_an_address_of_its_own_is_left_to_jax(started, libtpu):
  assert started(GKE | {"JAX_COORDINATOR_ADDRESS": "first:1234"}) == {}


@pytest.mark.parametrize(
  ("endpoints", "environment", "told"),
  [
    ("a:0:10.0.0.1,a:1:10.0.0.2", "", {}),
    ("host-0,host-1", "", {}),
    ("host-0", "ACCELERATOR_TYPE: 'v5e-8'\n", ALONE),
    ("host-0", "MEGASCALE_NUM_SLICES: '2'\nZONE: 'x'", {}),
  ],
)
def test_a_slice_on_compute_engine_is_known_by_its_metadata(
  started, libtpu, metadata, monkeypatch, endpoints, environment, told
):
  metadata |= {"worker-network-endpoints": endpoints, "tpu-env": environment}
  assert started({}) is ALONE  # no TPU, as JAX has found
  monkeypatch.delenv("TPU_SKIP_MDS_QUERY")
  assert started({}) == told


def test_a_tpu_without_metadata_is_alone(started, libtpu, metadata, monkeypatch):
  monkeypatch.delenv("TPU_SKIP_MDS_QUERY")
  assert started({}) is ALONE


@pytest.mark.parametrize(
  ("variables", "words"),
  [
    ({"JAX_PROCESS_ID": "0"}, "JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES must"),
    ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "JAX_NUM_PROCESSES and JAX_PROCESS_ID must"),
    (JAX | {"JAX_NUM_PROCESSES": "four"}, "JAX_NUM_PROCESSES must be a whole number"),
    (JAX | {"JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID must be a whole number"),
    (JAX | {"JAX_PROCESS_ID": ""}, "JAX_PROCESS_ID must be a whole number"),
    (JAX | {"JAX_PROCESS_ID": "4"}, "found process 4 of 4"),
    (JAX | {"JAX_COORDINATOR_ADDRESS": "first"}, "must be host:port, found 'first'"),
    (SLURM | {"SLURM_LOCALID": "x"}, "SLURM_LOCALID must be a whole number"),
    (MPI_4 | {"OMPI_COMM_WORLD_RANK": ""}, "OMPI_COMM_WORLD_RANK must be a whole"),
  ],
)
def test_incomplete_and_impossible_variables_are_named(started, variables, words):
  with pytest.raises(UserError) as error:
    started(variables)
  assert words in str(error.value)
  assert "\n" not in str(error.value)


def test_off_looks_at_nothing(started):
  assert started({"JAX_PROCESS_ID": "x"}, distributed="off") is ALONE


def test_on_leaves_to_jax_what_has_left_no_sign(started):
  assert started({}, distributed="on") == {}


def test_on_connects_even_one_process(started):
  one = JAX | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}
  assert started(one, distributed="on")["num_processes"] == 1


def test_a_cluster_that_cannot_be_joined_is_one_line(started, monkeypatch):
  started({})

  def fail(**_):
    raise RuntimeError("DEADLINE_EXCEEDED:\n  barrier timed out")

  monkeypatch.setattr(jax.distributed, "initialize", fail)
  with pytest.raises(UserError) as error:
    devices.start("on")
  assert "DEADLINE_EXCEEDED: barrier timed out" in str(error.value)
  assert "mesh.distributed=off" in str(error.value)
