"""What launchers tell the processes that they start, as environment variables."""

PREFIXES = (
  "JAX_COORD",
  "JAX_NUM_PROC",
  "JAX_PROCESS",
  "JAX_LOCAL",
  "JOB_COMPLETION",
  "OMPI_",
  "SLURM_",
  "TPU_",
  "MEGASCALE_",
  "CUDA_VISIBLE",
  "GCE_",
  "KUBERNETES_",
)

JAX = {
  "JAX_COORDINATOR_ADDRESS": "first:1234",
  "JAX_NUM_PROCESSES": "4",
  "JAX_PROCESS_ID": "3",
}
# Two nodes with four tasks each; this is the second task of the second node.
SLURM = {
  "SLURM_JOB_ID": "77",
  "SLURM_NTASKS": "8",
  "SLURM_PROCID": "5",
  "SLURM_STEP_NODELIST": "node[1-2]",
  "SLURM_STEP_NUM_TASKS": "8",
  "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
  "SLURM_NODEID": "1",
  "SLURM_LOCALID": "1",
}
# The same with one task per node.
SLURM_NODES = SLURM | {
  "SLURM_NTASKS": "2",
  "SLURM_PROCID": "1",
  "SLURM_STEP_NUM_TASKS": "2",
  "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
  "SLURM_LOCALID": "0",
}
MPI = {
  "OMPI_COMM_WORLD_SIZE": "4",
  "OMPI_COMM_WORLD_RANK": "2",
  "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
  "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}
MPI_4 = MPI | {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911"}
GKE = {"TPU_WORKER_HOSTNAMES": "host-0,host-1", "TPU_WORKER_ID": "1"}
