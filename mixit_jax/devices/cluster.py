"""What the environment tells of a cluster: how many processes, and which one this is.

JAX finds the address at which processes meet by itself under SLURM, Open MPI and on
TPUs. What it does not is decided here: whether there is more than one process at all,
and which GPUs are whose (JAX gives every process that SLURM or Open MPI starts a
single one).
"""

import importlib.util
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mixit_jax.checked import ConfigError

Environment = Mapping[str, str]

ADDRESS, COUNT, NUMBER = (
  "JAX_COORDINATOR_ADDRESS",
  "JAX_NUM_PROCESSES",
  "JAX_PROCESS_ID",
)
POD_INDEX = "JOB_COMPLETION_INDEX"

# Seconds that the metadata server of a cloud machine may take to answer.
_PATIENCE = 5.0


@dataclass(frozen=True)
class Cluster:
  """Processes that train together.

  Attributes:
    processes: their number.
    arguments: those of `jax.distributed.initialize` in this process.
  """

  processes: int
  arguments: dict[str, Any]


@dataclass(frozen=True)
class Launch:
  """What a launcher tells a process that it has started.

  Attributes:
    processes: processes in all.
    number: number of this one, from 0.
    on_host: processes on this host.
    number_on_host: number of this one among them.
  """

  processes: int
  number: int
  on_host: int
  number_on_host: int


def find_cluster(environment: Environment) -> Cluster | None:
  """Find the cluster that this process belongs to; None where there is no sign of it.

  Looked for in this order: JAX's own variables, Open MPI, SLURM, TPU.

  Raises:
    ConfigError: the variables are incomplete or contradict each other.
  """
  launch = _open_mpi(environment) or _slurm(environment)
  if any(name in environment for name in (ADDRESS, COUNT, NUMBER)):
    return _explicit(environment, launch)
  if launch is None:
    return _tpu(environment)
  arguments: dict[str, Any] = {
    "num_processes": launch.processes,
    "process_id": launch.number,
    "local_device_ids": _own_gpus(environment, launch),
  }
  if launch.processes > 1 and _needs_mpi4py(environment):
    if importlib.util.find_spec("mpi4py") is None:
      raise ConfigError(
        "Open MPI 5 does not tell where the processes can meet: install mpi4py, or "
        f"give all of them the first host, mpirun -x {ADDRESS}=host:port …"
      )
    arguments["cluster_detection_method"] = "mpi4py"
  return Cluster(launch.processes, arguments)


def _explicit(environment: Environment, launch: Launch | None) -> Cluster | None:
  """Read JAX's variables; a launcher or an indexed pod may number the process."""
  address = environment.get(ADDRESS)
  processes = launch.processes if launch else None
  number = launch.number if launch else None
  if launch is None and POD_INDEX in environment:
    number = _integer(environment, POD_INDEX)
  if COUNT in environment:
    processes = _integer(environment, COUNT)
  if NUMBER in environment:
    number = _integer(environment, NUMBER)
  if address is None or processes is None or number is None:
    # On a TPU, JAX takes the address from the variable and the rest from the slice.
    tpu = _tpu(environment) if address else None
    return tpu or _complain(environment, address, processes, number)
  if not re.fullmatch(r".+:\d+", address):
    raise ConfigError(f"{ADDRESS} must be host:port, found {address!r}")
  if number >= processes:
    raise ConfigError(
      f"{NUMBER} must be below {COUNT}: found process {number} of {processes}"
    )
  arguments = {
    "coordinator_address": address,
    "num_processes": processes,
    "process_id": number,
    "local_device_ids": _own_gpus(environment, launch) if launch else None,
    "cluster_detection_method": "deactivate",
  }
  return Cluster(processes, arguments)


def _complain(environment: Environment, *found: str | int | None) -> NoReturn:
  names = (ADDRESS, COUNT, NUMBER)
  missing = [name for name, value in zip(names, found, strict=True) if value is None]
  given = [name for name in names if name in environment]
  raise ConfigError(
    f"{' and '.join(missing)} must be set, since {' and '.join(given)} is; set all of "
    f"{', '.join(names)}, or none"
  )


def _open_mpi(environment: Environment) -> Launch | None:
  """Read what mpirun tells the process, Open MPI 4 and 5 alike."""
  if "OMPI_COMM_WORLD_SIZE" not in environment:
    return None
  names = ("SIZE", "RANK", "LOCAL_SIZE", "LOCAL_RANK")
  return Launch(*(_integer(environment, f"OMPI_COMM_WORLD_{name}") for name in names))


def _needs_mpi4py(environment: Environment) -> bool:
  """Whether mpirun has left no address in the environment, as of version 5."""
  return (
    "OMPI_COMM_WORLD_SIZE" in environment and "OMPI_MCA_orte_hnp_uri" not in environment
  )


def _slurm(environment: Environment) -> Launch | None:
  """Read what srun tells the process.

  The shells of sbatch and salloc have SLURM_NTASKS, and often SLURM_PROCID, though no
  other task has been started: only a step has the variables of a step.
  """
  if "SLURM_PROCID" not in environment or "SLURM_STEP_NODELIST" not in environment:
    return None
  # SLURM_NTASKS may be that of the allocation.
  of_step = "SLURM_STEP_NUM_TASKS" in environment
  tasks = _integer(environment, "SLURM_STEP_NUM_TASKS" if of_step else "SLURM_NTASKS")
  if tasks == 1:
    return Launch(1, 0, 1, 0)
  node = _integer(environment, "SLURM_NODEID")
  per_node = _tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
  on_host = per_node[node] if node < len(per_node) else tasks
  number, local = (
    _integer(environment, name) for name in ("SLURM_PROCID", "SLURM_LOCALID")
  )
  return Launch(tasks, number, on_host, local)


def _tasks_per_node(text: str) -> list[int]:
  """Tasks of each node from SLURM's short form: "2(x3),1" is 2, 2, 2, 1."""
  counts: list[int] = []
  for tasks, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
    counts += [int(tasks)] * int(times or 1)
  return counts


def _own_gpus(environment: Environment, launch: Launch) -> list[int] | None:
  """Take this process's share of the visible GPUs; [] is all, None JAX's choice."""
  if "JAX_LOCAL_DEVICE_IDS" in environment:
    return None
  # Alone on its host, or bound to its own GPUs by SLURM.
  if launch.on_host == 1 or "SLURM_GPUS_PER_TASK" in environment:
    return []
  if "CUDA_VISIBLE_DEVICES" not in environment:
    return [launch.number_on_host]
  gpus = len([name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name])
  share, rest = divmod(gpus, launch.on_host)
  if rest:  # fewer GPUs than processes: each one sees its own
    return []
  return [launch.number_on_host * share + i for i in range(share)]


def _tpu(environment: Environment) -> Cluster | None:
  """Count the hosts of TPU slices, on GKE or Compute Engine."""
  if importlib.util.find_spec("libtpu") is None:
    return None
  workers = environment.get("TPU_PROCESS_ADDRESSES") or environment.get(
    "TPU_WORKER_HOSTNAMES"
  )
  file = environment.get("TPU_PROCESS_ADDRESSES_PATH")
  if file and Path(file).is_file():
    workers = Path(file).read_text()
  slices = environment.get("MEGASCALE_NUM_SLICES")
  # JAX sets this variable at import where there is no TPU.
  if not workers and "TPU_SKIP_MDS_QUERY" not in environment:
    workers = _metadata(environment, "worker-network-endpoints")
    known = re.search(
      r"MEGASCALE_NUM_SLICES: *'?(\d+)", _metadata(environment, "tpu-env")
    )
    slices = slices or (known and known[1])
  if not workers:
    return None
  hosts = len(workers.split(",")) * int(slices or 1)
  return Cluster(hosts, {}) if hosts > 1 else None


def _metadata(environment: Environment, key: str) -> str:
  """Read a value of Compute Engine's metadata server; empty where there is none."""
  server = environment.get("GCE_METADATA_IP", "metadata.google.internal")
  request = urllib.request.Request(
    f"http://{server}/computeMetadata/v1/instance/attributes/{key}",
    headers={"Metadata-Flavor": "Google"},
  )
  direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
  try:
    with direct.open(request, timeout=_PATIENCE) as answer:
      return answer.read().decode()
  except OSError:
    return ""


def _integer(environment: Environment, name: str) -> int:
  """Read a variable that must be a whole number."""
  value = environment.get(name, "")
  if not value.strip().isdecimal():
    raise ConfigError(
      f"{name} must be a whole number, found {value!r}; set it, or run with "
      "--config.mesh.distributed=off"
    )
  return int(value)
