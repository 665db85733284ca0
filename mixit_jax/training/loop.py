"""The training loop: pre-training and fine-tuning alike."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from mixit_jax.errors import UserError
from mixit_jax.separator.bs_locoformer import Separator
from mixit_jax.training import source
from mixit_jax.training.checkpoints import Checkpoints, checkpoint_steps
from mixit_jax.training.config import Config
from mixit_jax.training.initialize import check_start, initial_state, state_layout
from mixit_jax.training.interrupts import StoppedError, StopRequest, Watchdog
from mixit_jax.training.mesh import check_batch, make_mesh, put_batch
from mixit_jax.training.reporting import Meter, log_example
from mixit_jax.training.state import TrainState
from mixit_jax.training.steps import TrainStep, jit_train_step
from mixit_jax.training.telemetry import Telemetry
from mixit_jax.training.validation import Validator, local_copy
from mixit_jax.training.workdir import claim_workdir


class TrainingError(UserError):
  """The run cannot go on."""


def train(config: Config, workdir: Path) -> None:
  """Trains until `run.steps`, from the latest checkpoint where there is one.

  SIGTERM and Ctrl-C save a checkpoint and end the run; starting it again, also after
  any other death, goes on with the same batches and, on the same devices, the same
  numbers to the bit. Before the first step SIGTERM ends the process at once.

  Args:
    config: the run's configuration.
    workdir: folder of the run; created where it is missing.

  Raises:
    UserError: configuration, data, working directory or checkpoint cannot be used, or
      too many steps in a row were not finite.
  """
  with StopRequest() as stop:
    _train(config, Path(workdir), stop)


def _train(config: Config, workdir: Path, stop: StopRequest) -> None:
  mesh = make_mesh(config.mesh)
  check_batch(config.run.batch, config.run.accumulation, mesh)
  dataset = source.open_dataset(config)
  separator = Separator(config.model)
  validator = Validator(config, separator)
  fingerprint = source.data_fingerprint(config)
  if not checkpoint_steps(workdir):
    check_start(config)
  lead = jax.process_index() == 0
  claim_workdir(workdir, config, write=lead)

  checkpoints = Checkpoints(workdir, config.run.keep_latest, config.run.keep_best)
  try:
    state = _start(config, workdir, separator, mesh, checkpoints, fingerprint)
    first = int(state.step)
    validated = not _is_validated(config, first) or checkpoints.has_loss(first)
    if first >= config.run.steps and validated:
      logging.info("%s has already taken its %d steps", workdir, config.run.steps)
      return
    step = jit_train_step(config, separator, mesh, state)
    telemetry = Telemetry(workdir, config.run.steps, first, validated, enabled=lead)
    batches = source.train_batches(dataset, config, first)
    try:
      run = _Run(
        config,
        workdir,
        mesh,
        step,
        batches,
        validator,
        checkpoints,
        telemetry,
        {"config": config.to_dict(), "data_fingerprint": fingerprint},
        stop,
      )
      if not validated:
        run.validate(first, state)
      run.to_the_end(state)
    except StoppedError:
      logging.warning("stopped in a validation; start again to go on")
    finally:
      telemetry.close()
  finally:
    checkpoints.close()


def _is_validated(config: Config, step: int) -> bool:
  """Whether there is a validation after a step."""
  epoch = config.valid.every_epochs * config.run.steps_per_epoch
  return step > 0 and (step % epoch == 0 or step == config.run.steps)


def _start(
  config: Config,
  workdir: Path,
  separator: Separator,
  mesh: Mesh,
  checkpoints: Checkpoints,
  fingerprint: str,
) -> TrainState:
  """The state to go on from: the latest checkpoint, or the configured start."""
  restored = checkpoints.restore(state_layout(config, separator, mesh))
  if restored is None:
    return initial_state(config, workdir, separator, mesh)
  state, meta = restored
  changes = config.run.allow_changes
  if meta["data_fingerprint"] != fingerprint and "data.shards" not in changes:
    raise UserError(
      f"{config.data.shards} is not the data that {workdir} has trained on, or it was "
      "prepared anew; restore it, use another --workdir, or name data.shards in "
      "--config.run.allow_changes"
    )
  logging.info("resuming %s at step %d", workdir, int(state.step))
  return state


class _Run:
  """One stretch of training, from a state to the end or to a request to stop."""

  def __init__(
    self,
    config: Config,
    workdir: Path,
    mesh: Mesh,
    step: TrainStep,
    batches: Iterator[source.Batch],
    validator: Validator,
    checkpoints: Checkpoints,
    telemetry: Telemetry,
    meta: dict[str, Any],
    stop: StopRequest,
  ):
    self._config, self._workdir, self._mesh = config, workdir, mesh
    self._step, self._batches = step, batches
    self._validator, self._checkpoints = validator, checkpoints
    self._telemetry, self._meta, self._stop = telemetry, meta, stop

  def to_the_end(self, state: TrainState) -> None:
    """Takes the remaining steps."""
    run = self._config.run
    meter = Meter(self._config)
    previous: tuple[dict, source.Batch] | None = None
    with Watchdog(run.watchdog_seconds) as watchdog:
      for number in range(int(state.step) + 1, run.steps + 1):
        watchdog.enter(f"step {number}: waiting for data")
        begun = time.perf_counter()
        batch = next(self._batches)
        meter.waited(time.perf_counter() - begun)
        watchdog.enter(f"step {number}: waiting for devices")
        self._profile(number)
        state, metrics = self._step(
          state, put_batch(source.device_part(batch), self._mesh)
        )
        self._stop.defer()
        # Looking at the step before keeps the devices busy meanwhile.
        if previous is not None:
          self._guard(number - 1, state, *previous)
        previous = (metrics, batch)
        meter.stepped()
        self._telemetry.advance(number)
        if number % run.log_every == 0 or number == run.steps:
          self._telemetry.scalars("train", number, {**metrics, **meter.read()})
        if _is_validated(self._config, number):
          watchdog.enter(f"step {number}: validation")
          self._guard(number, state, *previous)
          self._save(number, state)
          self.validate(number, state)
          meter.pause()
        elif number % run.save_every == 0:
          self._save(number, state)
        if self._asked_to_stop(number):
          self._guard(number, state, *previous)
          self._save(number, state)
          logging.warning("stopped at step %d; start again to go on", number)
          return

  def validate(self, number: int, state: TrainState) -> None:
    """Validates the state of a step that is saved, or being saved.

    Raises:
      StoppedError: the run is asked to stop; a restart begins with this validation.
    """
    valid, run = self._config.valid, self._config.run
    params = local_copy(state.params if state.ema is None else state.ema, self._mesh)
    values = self._validator.loss(params, self._stop.check)
    epoch = number // run.steps_per_epoch
    due = valid.scores_every_epochs and epoch % valid.scores_every_epochs == 0
    if self._config.objective.kind == "stems" and (due or number == run.steps):
      values |= self._validator.scores(params, self._stop.check)
    self._telemetry.scalars("valid", number, values)
    self._checkpoints.record_loss(number, float(values["loss"]))
    for index in range(valid.media):
      mixture, estimates = self._validator.example(params, index)
      log_example(self._telemetry, self._config, number, index, mixture, estimates)

  def _save(self, number: int, state: TrainState) -> None:
    self._checkpoints.save(number, state, {**self._meta, "step": number})

  def _asked_to_stop(self, number: int) -> bool:
    if jax.process_count() > 1:
      return self._checkpoints.reached_preemption(number)
    return self._stop.requested

  def _guard(
    self, number: int, state: TrainState, metrics: dict, batch: source.Batch
  ) -> None:
    """Reports a skipped step with its records; stops after too many in a row."""
    in_row = int(metrics["skipped_in_row"])
    if not in_row:
      return
    logging.warning(
      "step %d skipped: loss %s, gradient norm %s; examples %s, records %s",
      number,
      float(metrics["loss"]),
      float(metrics["grad_norm"]),
      batch["index"].tolist(),
      batch["records"].tolist(),
    )
    if in_row >= self._config.run.max_skips:
      # Skipped steps leave the parameters alone: these are the last good ones.
      self._save(int(state.step), state)
      raise TrainingError(
        f"{in_row} steps in a row up to step {number} had a non-finite loss or "
        f"gradient; the last good parameters are saved in {self._workdir}. Look at the "
        "records named above, or lower optimizer.peak_rate"
      )

  def _profile(self, number: int) -> None:
    steps = self._config.run.profile_steps()
    if steps is None or jax.process_index() != 0:
      return
    if number == steps[0]:
      jax.profiler.start_trace(str(self._workdir / "profile"))
    if number == steps[1] + 1:
      jax.profiler.stop_trace()
      logging.info("profile of steps %d to %d in %s/profile", *steps, self._workdir)
