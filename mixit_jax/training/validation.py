"""Validation: the loss on fixed examples, and scores of whole songs.

Each host validates its share on its own devices, with fixed shapes, every example and
every song exactly once; only the results travel between hosts.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mixit_jax.devices.mesh import batch_sharding, local_mesh
from mixit_jax.errors import UserError
from mixit_jax.evaluation.scores import csdr, usdr
from mixit_jax.evaluation.summaries import summarize
from mixit_jax.separator.chunked import separate_long
from mixit_jax.separator.compiled import chunk_separator
from mixit_jax.training.objectives import Objective, local_songs
from mixit_jax.training.state import Params
from mixit_jax.training.step import make_valid_step


class Validator:
  """Validation of one run, compiled once.

  Its parameters are whole on the devices of this host, see `mesh.local_copy`. `check`
  is called before each batch; what it raises ends the validation.
  """

  def __init__(self, objective: Objective):
    """Find the validation data.

    Raises:
      UserError: there is none, or it does not fit the configuration.
    """
    objective.open_validation()
    self._objective = objective
    self._mesh = local_mesh()
    self._step = jax.jit(make_valid_step(objective.loss, self._mesh))
    run = objective.config.run
    per_device = max(1, run.batch // run.parts // jax.device_count())
    self._batch = per_device * self._mesh.devices.size

  def check(self) -> None:
    """Read what validation will read, on all hosts.

    Raises:
      UserError: a validation song cannot be used.
    """
    problem: UserError | None = None
    try:
      self._objective.check_validation()
    except UserError as error:
      problem = error
    failed = _sum_over_hosts({"failed": np.array(float(problem is not None))})["failed"]
    if failed and problem is None:
      problem = UserError("a validation song of another process cannot be read")
    if problem is not None:
      raise problem

  def loss(self, params: Params, check: Callable[[], None]) -> dict[str, Any]:
    """Return the mean loss and statistics over the validation examples."""
    # A host without a song must still add its zeros.
    sums: dict[str, Any] = {"loss": np.zeros(()), "examples": np.zeros(())}
    sharding = batch_sharding(self._mesh)
    for batch in self._objective.valid_batches(self._batch):
      check()
      part = self._step(params, *jax.device_put(batch, sharding))
      for name, value in part.items():
        sums[name] = sums.get(name, 0.0) + np.asarray(value, np.float64)
    sums = _sum_over_hosts(sums)
    examples = sums.pop("examples")
    return {name: value / examples for name, value in sums.items()}

  def scores(self, params: Params, check: Callable[[], None]) -> dict[str, float]:
    """Return uSDR and cSDR of whole validation songs (paper 4.3).

    Returns:
      `usdr/<stem>` and `csdr/<stem>` in dB over the songs, and their means over the
      stems; nothing where the objective has no songs.
    """
    objective, rate = self._objective, self._objective.model.sample_rate
    stems, valid = objective.outputs, objective.config.valid
    if not objective.valid_songs:
      return {}
    separate = self._separator(params)

    def checked(chunks: np.ndarray) -> jax.Array:
      check()
      return separate(chunks)

    chunk, hop = round(valid.chunk_seconds * rate), round(valid.hop_seconds * rate)
    table = np.zeros((2, len(objective.valid_songs), len(stems)))
    for i, song in local_songs(objective):
      estimates = separate_long(checked, song.mixture, chunk, hop, self._batch)
      table[0, i] = usdr(song.references, estimates)
      table[1, i] = csdr(song.references, estimates, rate)
    table = _sum_over_hosts({"table": table})["table"]
    scores: dict[str, float] = {}
    for name, rows in zip(("usdr", "csdr"), table, strict=True):
      per_stem, mean = summarize(name, rows)
      scores |= {f"{name}/{stem}": v for stem, v in zip(stems, per_stem, strict=True)}
      scores[name] = mean
    return scores

  def example(self, params: Params, index: int) -> dict[str, np.ndarray]:
    """Return a validation mixture and its estimates by name, each [C, L]."""
    mixture = self._objective.valid_mixture(index)
    batch = np.repeat(mixture[None], self._batch, axis=0)
    estimates = np.asarray(self._separator(params)(batch))[0]
    named = zip(self._objective.outputs, estimates, strict=True)
    return {"mixture": mixture, **dict(named)}

  def _separator(self, params: Params) -> Callable[[np.ndarray], jax.Array]:
    return chunk_separator(self._objective.model, params, self._mesh)


def _sum_over_hosts(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  if jax.process_count() == 1:
    return values
  gathered = multihost_utils.process_allgather(values)
  return jax.tree.map(lambda x: np.sum(x, axis=0), gathered)
