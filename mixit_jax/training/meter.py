"""Speed, waiting time and memory of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.sharding import Mesh

from mixit_jax.devices import memory
from mixit_jax.devices.peaks import peak_flops
from mixit_jax.separator.costs import step_flops
from mixit_jax.training.config import Config


class Meter:
  """Speed, waiting time and memory since the last reading."""

  def __init__(self, config: Config, mesh: Mesh):
    self._batch = config.run.batch
    self._flops = step_flops(
      config.model, config.example_samples, self._batch, config.frozen
    )
    dtype = config.model.dtype
    peaks = [peak_flops(device, dtype) or 0.0 for device in mesh.devices.flat]
    self._peak = sum(peaks) if all(peaks) else None
    self.pause()

  def pause(self) -> None:
    """Forget the time until now, e.g. that of a validation."""
    self._begun = time.perf_counter()
    self._steps = 0
    self._waited = 0.0

  @contextmanager
  def waiting(self, running: jax.Array | None = None) -> Iterator[None]:
    """Count the time of the block as waiting for data.

    Args:
      running: result of a step that runs meanwhile. While it is not there the devices
        are at work: if it still is not when the block ends, nothing was waited for.
        If it is, the whole block counts, so that the time is an upper bound.
    """
    begun = time.perf_counter()
    yield
    # JAX's types do not know `is_ready`.
    if running is None or running.is_ready():  # type: ignore[attr-defined]
      self._waited += time.perf_counter() - begun

  def count_step(self) -> None:
    """Count a step."""
    self._steps += 1

  def read(self) -> dict[str, float]:
    """Return the values since the last reading, which then starts anew.

    Waiting for data is the time in which the devices may have stood still because the
    next batch was not there, see `waiting`.

    FLOP/s are those of the model over all devices: what is computed again to save
    memory does not count. Their share of the peak is left out where the peak is not
    known.
    """
    elapsed = max(time.perf_counter() - self._begun, 1e-9)
    flops = self._steps * self._flops / elapsed
    values = {
      "examples_per_second": self._steps * self._batch / elapsed,
      "flops_per_second": flops,
      "seconds_per_step": elapsed / max(self._steps, 1),
      "seconds_waiting_for_data": self._waited,
      "share_waiting_for_data": self._waited / elapsed,
      "memory_gib": memory.peak(jax.local_devices()) / 2**30,
    }
    if self._peak is not None:
      values["share_of_peak"] = flops / self._peak
    self.pause()
    return values
