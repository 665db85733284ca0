"""The three questions that `mixit-jax doctor` answers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from mixit_jax.devices import start
from mixit_jax.devices.targets import describe
from mixit_jax.doctor.checks import run_checks
from mixit_jax.doctor.dataset import data_checks
from mixit_jax.doctor.machine import machine_checks
from mixit_jax.doctor.requirements import Speed, requirements
from mixit_jax.flags import parse_flags
from mixit_jax.training.config import Config

Echo = Callable[[str], None]


def diagnose(echo: Echo) -> None:
  """Print whether this machine is ready.

  Raises:
    UserError: it is not.
  """
  run_checks(machine_checks(), echo)


def inspect(folders: Sequence[Path], everything: bool, echo: Echo) -> None:
  """Print whether prepared data is whole.

  Args:
    folders: as in `data.shards`.
    everything: whether every record is read, or some of each shard.
    echo: takes the lines.

  Raises:
    UserError: something is damaged.
  """
  run_checks(data_checks(folders, everything), echo)


def forecast(
  flags: Sequence[str],
  utilization: float,
  peak_tflops: float | None,
  topology: str | None,
  echo: Echo,
) -> None:
  """Print what a run needs; no data is read.

  Args:
    flags: `--config=…` and its overrides, as for training.
    utilization: assumed share of the peak of the devices.
    peak_tflops: that peak for each device; None takes what is known of its kind.
    topology: devices that are not here, such as "v5e:4x4"; None takes those that are.
    echo: takes the lines; process 0 alone prints.

  Raises:
    UserError: the configuration cannot be used, or the run does not fit.
  """
  config = Config.from_dict(parse_flags(["doctor", *flags]).config)
  target = None
  if topology:
    jax.config.update("jax_platforms", "cpu")
    target = describe(topology)
  else:
    start.start(config.mesh.distributed)
  peak = None if peak_tflops is None else peak_tflops * 1e12
  checks = requirements(config, Speed(utilization, peak), target)
  run_checks(checks, echo if jax.process_index() == 0 else lambda _: None)
