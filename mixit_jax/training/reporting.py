"""Numbers and media of a run that do not come from the step itself."""

import resource
import sys
import time

import jax
import numpy as np

from mixit_jax.audio.spectral import stft
from mixit_jax.separator.costs import step_flops
from mixit_jax.training.config import Config
from mixit_jax.training.peaks import peak_flops
from mixit_jax.training.telemetry import Telemetry

# Spectrograms show this range below their maximum.
_RANGE_DB = 80.0


class Meter:
  """Speed, waiting time and memory since the last reading."""

  def __init__(self, config: Config):
    self._batch = config.run.batch
    self._flops = step_flops(
      config.model, config.example_samples, self._batch, config.frozen
    )
    peaks = [peak_flops(device) or 0.0 for device in jax.devices()]
    self._peak = sum(peaks) if all(peaks) else None
    self.pause()

  def pause(self) -> None:
    """Forgets the time until now, e.g. that of a validation."""
    self._begun = time.perf_counter()
    self._steps = 0
    self._waited = 0.0

  def waited(self, seconds: float) -> None:
    """Adds time spent waiting for data."""
    self._waited += seconds

  def stepped(self) -> None:
    """Counts a step."""
    self._steps += 1

  def read(self) -> dict[str, float]:
    """Values since the last reading, which then starts anew.

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
      "memory_gib": _memory_high_water() / 2**30,
    }
    if self._peak is not None:
      values["share_of_peak"] = flops / self._peak
    self.pause()
    return values


def log_example(
  telemetry: Telemetry,
  config: Config,
  step: int,
  index: int,
  mixture: np.ndarray,
  estimates: np.ndarray,
) -> None:
  """Logs audio and spectrograms of a mixture [C, L] and its estimates [N, C, L]."""
  model = config.model
  names = [f"output_{n:02d}" for n in range(len(estimates))]
  if config.objective.kind == "stems":
    names = list(config.data.stems)
  for name, audio in zip(["mixture", *names], [mixture, *estimates], strict=True):
    tag = f"example_{index}/{name}"
    telemetry.audio(tag, step, audio, model.sample_rate)
    telemetry.image(tag, step, _spectrogram(audio, model.n_fft, model.hop))


def _spectrogram(audio: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
  """Log power [F, T] in [0, 1] of the mean of the channels, high frequencies on top."""
  power = np.abs(np.asarray(stft(audio.mean(axis=0), n_fft, hop))) ** 2
  decibel = 10 * np.log10(power + 1e-12)
  shown = np.clip((decibel - decibel.max()) / _RANGE_DB + 1, 0, 1)
  return shown.T[::-1]


def _memory_high_water() -> float:
  """Bytes: of the fullest local device, or of this process where devices do not say."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  peak = max(s.get("peak_bytes_in_use", 0) for s in stats)
  if peak:
    return peak
  unit = 1 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
