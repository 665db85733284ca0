"""The training loop: pre-training and fine-tuning alike."""

import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax

from mixit_jax.devices.mesh import check_batch, local_copy, make_mesh, put_batch
from mixit_jax.errors import UserError, one_line
from mixit_jax.lock import LockError
from mixit_jax.training.checkpoints import CheckpointError, Checkpoints
from mixit_jax.training.config import Config, RunConfig
from mixit_jax.training.dataset import settle_data
from mixit_jax.training.feed import Feed
from mixit_jax.training.fitting import fit_to_devices, memory_errors
from mixit_jax.training.initialize import check_start, initial_state
from mixit_jax.training.interrupts import StoppedError, StopRequest, Watchdog
from mixit_jax.training.meter import Meter
from mixit_jax.training.objectives import HostBatch, make_objective
from mixit_jax.training.progress import Progress, describe, is_spent
from mixit_jax.training.record import new_record
from mixit_jax.training.restart import find_past
from mixit_jax.training.state import TrainState
from mixit_jax.training.step import jit_train_step
from mixit_jax.training.telemetry import Telemetry, has_validation
from mixit_jax.training.validation import Validator
from mixit_jax.training.workdir import claim_workdir, owned

_ENDED_EARLY = "%s has ended at step %d: no better loss in %d validations"


class TrainingError(UserError):
  """The run cannot go on."""


def train(config: Config, workdir: Path) -> bool:
  """Train until `run.steps`, from the latest checkpoint where there is one.

  SIGTERM, Ctrl-C and a closed terminal save a checkpoint and end the run, and so does
  any error that leaves a state to save; starting it again, also after any other death,
  goes on with the same batches and, on the same devices, with bit-exact numbers.

  Args:
    config: the run's configuration.
    workdir: folder of the run; created where it is missing.

  Returns:
    whether the run is complete; false where it was asked to stop before.

  Raises:
    UserError: configuration, data, working directory or checkpoint cannot be used, the
      devices have too little memory, or too many steps in a row were not finite.
  """
  workdir, run, valid = Path(workdir), config.run, config.valid
  lead = jax.process_index() == 0

  with ExitStack() as opened:
    stop = opened.enter_context(StopRequest())

    # Devices, objective and data: what cannot work ends here, with nothing written.
    config = settle_data(config)
    mesh = make_mesh(config.mesh.fsdp)
    check_batch(run.batch, run.parts, mesh)
    # What is settled belongs to these devices: the folder keeps the configuration.
    objective = make_objective(fit_to_devices(config, mesh), mesh)
    opened.enter_context(memory_errors(objective.config, mesh))
    examples = objective.examples()
    validator = Validator(objective)
    validator.check()
    lock = opened.enter_context(owned(workdir))
    past = find_past(config, objective, workdir, mesh)
    if past is None:
      check_start(objective)

    # The start is accepted: from here on the folder changes.
    first = 0 if past is None else int(past.state.step)
    record = new_record(config, objective, workdir, mesh, first, past and past.meta)
    if lead:
      claim_workdir(workdir, config)
    checkpoints = opened.enter_context(
      Checkpoints(workdir, run.keep_latest, run.keep_best, past.damaged if past else ())
    )
    if past is None:
      state = initial_state(objective, workdir, mesh)
    else:
      state = past.state
      logging.info("resuming %s at step %d", workdir, first)
    # A validation whose report a full disk has swallowed is done again.
    validated = not _is_validated(config, first) or (
      checkpoints.has_loss(first) and has_validation(workdir, first)
    )
    if first >= run.steps and validated:
      logging.info("%s has already taken its %d steps", workdir, run.steps)
      return True
    if validated and is_spent(checkpoints.losses, run.patience):
      logging.info(_ENDED_EARLY, workdir, first, run.patience)
      return True

    # What a step and a run report, and what both of them save.
    train_step = jit_train_step(objective, mesh, state)
    telemetry = opened.enter_context(
      Telemetry(workdir, config, first, validated, enabled=lead)
    )
    meter, progress = Meter(config, mesh), Progress(run.steps)
    damaged = past.meta.get("damaged", 0) if past is not None else 0

    def save(step: int, state: TrainState) -> None:
      if lock is not None:
        lock.check()
      checkpoints.save(step, state, {**record, "step": step, "damaged": damaged})

    def validate(step: int, state: TrainState) -> None:
      params = local_copy(state.params if state.ema is None else state.ema, mesh)
      values = validator.loss(params, stop.check)
      epoch, loss = step // run.steps_per_epoch, float(values["loss"])
      last = step == run.steps or is_spent(
        {**checkpoints.losses, step: loss}, run.patience
      )
      due = valid.scores_every_epochs and epoch % valid.scores_every_epochs == 0
      if due or last:
        values |= validator.scores(params, stop.check)
      heard = last or epoch % valid.media_every_epochs == 0
      for index in range(valid.media if heard else 0):
        for name, audio in validator.example(params, index).items():
          telemetry.media(f"example_{index}/{name}", step, audio)
      telemetry.scalars("valid", step, values)
      checkpoints.record_loss(step, loss)

    def guard(step: int, state: TrainState, metrics: dict, batch: HostBatch) -> None:
      """Report a skipped step with its records; stop after too many in a row."""
      skipped = int(metrics["skipped_in_row"])
      if skipped:
        _report_skip(step, metrics, batch)
      if skipped >= run.max_skips:
        # Skipped steps leave the parameters alone: these are the last good ones.
        save(int(state.step), state)
        raise TrainingError(
          f"{skipped} steps in a row up to step {step} had a non-finite loss or "
          f"gradient; the last good parameters are saved in {workdir}. Look at the "
          "records named above, or lower optimizer.peak_rate"
        )

    # The loop. A run that died in a validation begins with it.
    watchdog = opened.enter_context(Watchdog(run.watchdog_seconds))
    batches = opened.enter_context(closing(objective.host_batches(examples, first)))
    feed = Feed(batches, lambda batch: put_batch(objective.batch(batch), mesh))
    previous: tuple[dict, HostBatch] | None = None
    try:
      if not validated:
        watchdog.enter(f"step {first}: validation")
        validate(first, state)
      for step in range(first + 1, run.steps + 1):
        watchdog.enter(f"step {step}: waiting for data")
        with meter.waiting():
          batch, placed = feed.take()
        damaged += int(batch["damaged"].sum())

        watchdog.enter(f"step {step}: waiting for devices")
        _profile(run, workdir, step)
        state, metrics = train_step(state, placed)
        del placed  # free as soon as the step has read it
        stop.defer()
        # Looking at the step before keeps the devices busy meanwhile.
        if previous is not None:
          guard(step - 1, state, *previous)
        previous = metrics, batch

        # The step before has ended and this one runs: two batches are on the devices.
        if step < run.steps and not stop.requested:
          watchdog.enter(f"step {step + 1}: waiting for data")
          with meter.waiting(metrics["loss"]):
            feed.prepare()
          watchdog.enter(f"step {step}: waiting for devices")

        meter.count_step()
        telemetry.advance(step)
        if step % run.log_every == 0 or step == run.steps:
          left = progress.seconds_left(step)
          values = {**metrics, **meter.read()}
          values |= {"seconds_left": left} if left else {}
          values |= {"damaged_records": damaged} if damaged else {}
          note = describe(checkpoints.losses, left)
          telemetry.scalars("train", step, values, note)

        if _is_validated(config, step):
          watchdog.enter(f"step {step}: validation")
          guard(step, state, *previous)
          save(step, state)
          validate(step, state)
          meter.pause()
          if is_spent(checkpoints.losses, run.patience):
            logging.info(_ENDED_EARLY, workdir, step, run.patience)
            return True
        elif step % run.save_every == 0:
          save(step, state)
        if _asked_to_stop(checkpoints, stop, step):
          guard(step, state, *previous)
          save(step, state)
          checkpoints.settle()
          logging.warning("stopped at step %d; start again to go on", step)
          return step == run.steps
    except StoppedError:
      logging.warning("stopped in a validation; start again to go on")
      return False
    except Exception as error:
      _save_before_death(error, state, save)
      raise
  return True


def _save_before_death(
  error: Exception, state: TrainState, save: Callable[[int, TrainState], None]
) -> None:
  """Save what the last complete step has left, where that is possible."""
  # A failed save would fail again; several processes can only save together.
  if isinstance(error, CheckpointError | LockError) or jax.process_count() > 1:
    return
  if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
    return  # the step that failed has taken it
  try:
    step = int(state.step)
    if step:
      save(step, state)
      logging.warning("saved at step %d before the end", step)
  except Exception as another:  # the first one is what counts
    logging.warning("the last step could not be saved (%s)", one_line(another))


def _is_validated(config: Config, step: int) -> bool:
  """Tell whether there is a validation after a step."""
  epoch = config.valid.every_epochs * config.run.steps_per_epoch
  return step > 0 and (step % epoch == 0 or step == config.run.steps)


def _asked_to_stop(checkpoints: Checkpoints, stop: StopRequest, step: int) -> bool:
  """Tell whether the run shall end; the same on all hosts at the same step."""
  if jax.process_count() > 1:
    return checkpoints.reached_preemption(step)
  return stop.requested


def _report_skip(step: int, metrics: dict[str, Any], batch: HostBatch) -> None:
  logging.warning(
    "step %d skipped: loss %s, gradient norm %s; examples %s, records %s",
    step,
    float(metrics["loss"]),
    float(metrics["grad_norm"]),
    batch["index"].tolist(),
    batch["records"].tolist(),
  )


def _profile(run: RunConfig, workdir: Path, step: int) -> None:
  """Begin or end the profile of some steps."""
  steps = run.profile_steps()
  if steps is None or jax.process_index() != 0:
    return
  if step == steps[0]:
    jax.profiler.start_trace(str(workdir / "profile"))
  if step == steps[1] + 1:
    jax.profiler.stop_trace()
    logging.info("profile of steps %d to %d in %s/profile", *steps, workdir)
