"""Batches on the devices, the next one put there while a step runs."""

from collections.abc import Callable, Iterator
from typing import Any

from mixit_jax.training.objectives import HostBatch

Placed = tuple[HostBatch, Any]


class Feed:
  """Double buffering without a thread: putting on a device returns at once.

  Call `prepare` while the step of the batch taken last is running. At most one batch
  waits on the devices beside the one in use.
  """

  def __init__(self, batches: Iterator[HostBatch], put: Callable[[HostBatch], Any]):
    """Draw nothing yet.

    Args:
      batches: of this host, in the order of the steps.
      put: starts to bring a batch to the devices.
    """
    self._batches, self._put = batches, put
    self._next: Placed | Exception | None = None

  def prepare(self) -> None:
    """Draw the next batch and put it on the devices, unless that is done.

    An error is kept for `take`: the step before must not fail by it.
    """
    if self._next is not None:
      return
    try:
      batch = next(self._batches)
      self._next = batch, self._put(batch)
    except Exception as error:  # whatever it is, it belongs to the next step
      self._next = error

  def take(self) -> Placed:
    """Return the next batch as drawn and as it is on the devices.

    Raises:
      Exception: what drawing or putting this batch raised.
    """
    self.prepare()
    found, self._next = self._next, None
    if isinstance(found, Exception):
      raise found
    assert found is not None
    return found
