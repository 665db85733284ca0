"""Batches of an endless stream of examples, for one of several hosts."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from mixit_jax.data.records import Manifest
from mixit_jax.errors import UserError


class HostBatches(Iterator[dict[str, np.ndarray]]):
  """Batches that threads read ahead.

  The threads end with `close()`, with an error, and with the last reference.
  """

  def __init__(self, iterator: grain.DatasetIterator):
    self._iterator: grain.DatasetIterator | None = iterator
    iterator.start_prefetch()

  def __next__(self) -> dict[str, np.ndarray]:
    """Return the next batch.

    Raises:
      RecordError: an example of the batch cannot be read; no batch follows, since
        Grain would leave out the example and shift all that come after it.
      ValueError: the batches were closed.
    """
    if self._iterator is None:
      raise ValueError("these batches are closed")
    try:
      return next(self._iterator)
    except BaseException:
      self.close()
      raise

  def close(self) -> None:
    """End the threads; later calls do nothing."""
    if self._iterator is not None:
      self._iterator.close()
      self._iterator = None


def host_batches(
  dataset: grain.MapDataset,
  first_step: int,
  global_batch: int,
  host: int = 0,
  hosts: int = 1,
  threads: int = 4,
  buffer: int | None = None,
) -> HostBatches:
  """Return the batches of one host, starting at a step.

  At step s host h gets the examples s * global_batch + h, + hosts, ... of the
  stream: the batches of all hosts together do not depend on their number, and a run
  that resumes at a step sees the same examples as an uninterrupted one.

  Examples are read ahead by threads (decoding releases the interpreter's lock) and
  stacked by one more thread. At most three batches and `buffer` examples are held.
  Reading starts at once. An error in an example is raised at its batch.

  Args:
    dataset: endless stream of examples.
    first_step: the step that the first batch belongs to.
    global_batch: examples per step on all hosts together.
    host: number of this host.
    hosts: number of hosts; must divide `global_batch`.
    threads: threads that read and decode.
    buffer: examples that are read ahead, two for each thread by default.

  Returns:
    endless iterator over dicts with leading axis `global_batch // hosts`.

  Raises:
    UserError: an argument is out of its range.
  """
  if global_batch < 1 or hosts < 1 or global_batch % hosts:
    raise UserError(
      f"the global batch of {global_batch} examples cannot be divided among {hosts}"
      " hosts; make it a multiple of the number of hosts"
    )
  if not 0 <= host < hosts:
    raise UserError(f"host: expected 0 to {hosts - 1}, found {host}")
  if first_step < 0:
    raise UserError(f"first_step: expected at least 0, found {first_step}")
  if threads < 1:
    raise UserError(f"threads: expected at least 1, found {threads}")
  buffer = 2 * threads if buffer is None else buffer
  if buffer < threads:
    raise UserError(
      f"buffer: expected an example for each of {threads} threads, found {buffer}"
    )
  # The buffer counts examples, since reading ahead comes before batching: a buffer of
  # batches would hold gigabytes.
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
  examples = dataset[first_step * global_batch + host :: hosts]
  batches = examples.to_iter_dataset(options).batch(global_batch // hosts)
  ahead = grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=1)
  return HostBatches(iter(ahead))


def stream_fingerprint(manifests: Sequence[Manifest], **settings: Any) -> str:
  """Return a hash over the data and the settings that determine a stream.

  A run stores it with its checkpoints. If it differs later, the remaining steps do not
  see the examples of an uninterrupted run.

  Args:
    manifests: those of the data, one for each folder.
    **settings: what else determines the examples, such as split, seed and
      global_batch; values that JSON can hold.
  """
  data = [manifest.fingerprint for manifest in manifests]
  text = json.dumps([*data, settings], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
