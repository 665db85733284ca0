"""NVIDIA GPUs as XLA's compiler wants them described, from their data sheets."""

from dataclasses import dataclass, replace
from typing import Any

# Without a device nothing can be timed, and products that are not tuned cannot become
# Triton kernels: cuBLAS takes them.
COMPILER_OPTIONS: dict[str, Any] = {"xla_gpu_enable_triton_gemm": False}

# Share of the memory that JAX takes by default.
_POOL = 0.75


@dataclass(frozen=True)
class Gpu:
  """A kind of GPU.

  Attributes:
    name: that CUDA gives it.
    capability: its compute capability.
    cores: streaming multiprocessors.
    clock: GHz.
    memory: bytes.
    bandwidth: of the memory in bytes a second.
    cache: of the second level, bytes.
    shared: memory shared by the threads of a multiprocessor, bytes.
    threads: most threads of a multiprocessor.
    tensor: multiplications with additions of a tensor core per clock, in bfloat16.
  """

  name: str
  capability: tuple[int, int]
  cores: int
  clock: float
  memory: int
  bandwidth: int
  cache: int
  shared: int
  threads: int
  tensor: int


_H100 = Gpu(
  "NVIDIA H100 80GB HBM3",
  capability=(9, 0),
  cores=132,
  clock=1.98,
  memory=84_942_979_072,
  bandwidth=3_352_320_000_000,
  cache=50 * 2**20,
  shared=228 * 2**10,
  threads=2048,
  tensor=512,
)
GPUS = {
  "h100": _H100,
  "h200": replace(  # the same chip with other memory
    _H100, name="NVIDIA H200", memory=151_397_597_184, bandwidth=4_800_000_000_000
  ),
  "rtx4090": Gpu(
    "NVIDIA GeForce RTX 4090",
    capability=(8, 9),
    cores=128,
    clock=2.52,
    memory=25_386_352_640,
    bandwidth=1_008_000_000_000,
    cache=72 * 2**20,
    shared=100 * 2**10,
    threads=1536,
    tensor=128,
  ),
}

# By XLA's numbers of types: 2 and 6 are int8, uint8, 4 and 8 int32, uint32, 10 and
# 16 float16 and bfloat16, 11 and 12 float32 and float64, 19 and 20 float8.
# Operations per clock of a tensor core, over those in bfloat16 (float32 as TF32).
_TENSOR_RATES = {
  2: 2.0,
  6: 2.0,
  10: 1.0,
  11: 0.5,
  12: 1 / 16,
  16: 1.0,
  19: 2.0,
  20: 2.0,
}
# Units of a core and their operations per clock.
_SCALAR_RATES = {4: (64, 1), 8: (64, 1), 10: (128, 2), 11: (128, 1), 12: (64, 1)}
_SCALAR_RATES |= {16: (128, 2)}


def pool(gpu: Gpu) -> int:
  """Return the bytes that programs may use by default."""
  return int(_POOL * gpu.memory)


def target_config(gpu: Gpu) -> str:
  """Write the description of a GPU for XLA, a protocol buffer as text."""
  major, minor = gpu.capability
  ninth = major >= 9
  registers = 65536
  tensor = {kind: (4, int(gpu.tensor * rate)) for kind, rate in _TENSOR_RATES.items()}
  scalar, matrix = _rates(gpu.clock, _SCALAR_RATES), _rates(gpu.clock, tensor)
  feature = "feature_extension: ACCELERATED_FEATURES" if ninth else ""
  return f"""\
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {gpu.shared}
  shared_memory_per_block_optin: {gpu.shared - 1024}
  threads_per_core_limit: {gpu.threads}
  core_count: {gpu.cores}
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  registers_per_core_limit: {registers}
  registers_per_block_limit: {registers}
  memory_bandwidth: {gpu.bandwidth}
  l2_cache_size: {gpu.cache}
  clock_rate_ghz: {gpu.clock}
  device_memory_size: {gpu.memory}
  device_address_bits: 64
  pcie_bandwidth: 34359738368
  ecc_enabled: {str(ninth).lower()}
  cuda_compute_capability {{ major: {major} minor: {minor} {feature} }}
  scalar_unit_description {{ {scalar} }}
  matrix_unit_description {{ {matrix} }}
  device_vendor: "NVIDIA Corporation"
  platform_version: "Compute Capability {major}.{minor}"
  name: "{gpu.name}"
  driver_version: "13.0.0"
  runtime_version: "12.8.0"
  compile_time_toolkit_version: "12.8.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{gpu.name}"
"""


def _rates(clock: float, units: dict[int, tuple[int, int]]) -> str:
  """Write units of a core and their operations per clock, by XLA's numbers of types."""
  return " ".join(
    f"rate_infos {{ key: {kind} value {{ clock_rate_ghz: {clock} "
    f"units_per_core: {count} ops_per_clock: {operations} }} }}"
    for kind, (count, operations) in units.items()
  )
