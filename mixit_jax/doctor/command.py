"""The two questions that `mixit-jax doctor` answers."""

from collections.abc import Callable, Sequence

import jax

from mixit_jax.doctor.machine import machine_checks
from mixit_jax.doctor.outcomes import run_checks
from mixit_jax.doctor.run import Speed, run_checks_of
from mixit_jax.flags import parse_flags, plain_values
from mixit_jax.training import devices
from mixit_jax.training.config import Config

Echo = Callable[[str], None]


def diagnose(echo: Echo) -> None:
  """Prints whether this machine is ready.

  Raises:
    UserError: it is not.
  """
  run_checks(machine_checks(), echo)


def forecast(
  flags: Sequence[str], utilisation: float, peak_tflops: float | None, echo: Echo
) -> None:
  """Prints what a run needs; no data is read.

  Args:
    flags: `--config=…` and its overrides, as for training.
    utilisation: assumed share of the peak of the devices.
    peak_tflops: that peak for each device; None takes what is known of its kind.
    echo: takes the lines; process 0 alone prints.

  Raises:
    UserError: the configuration cannot be used, or the run does not fit.
  """
  config = Config.from_dict(plain_values(parse_flags(["doctor", *flags]).config))
  devices.start(config.mesh)
  peak = None if peak_tflops is None else peak_tflops * 1e12
  checks = run_checks_of(config, Speed(utilisation, peak))
  run_checks(checks, echo if jax.process_index() == 0 else lambda _: None)
