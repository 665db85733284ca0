"""Damaged records: each costs itself only, up to a share of all."""

import logging
import threading

from mixit_jax.data.encoding import RecordError


class Damage:
  """The damaged records that were met; thread-safe."""

  def __init__(self, what: str, records: int, most_share: float):
    """Nothing is damaged yet.

    Args:
      what: how errors call the records.
      records: number of all records.
      most_share: share of them that may be damaged; 0 accepts none, any other at least
        one.
    """
    self._what, self._records, self._share = what, records, most_share
    self._most = max(1, int(most_share * records)) if most_share else 0
    self._found: set[int] = set()
    self._lock = threading.Lock()

  def note(self, record: int, error: RecordError) -> None:
    """Count a damaged record and tell it once.

    Raises:
      RecordError: there are too many.
    """
    with self._lock:
      known = record in self._found
      self._found.add(record)
      count = len(self._found)
    if count > self._most:
      if not self._most:
        raise error
      raise RecordError(
        f"{count} of {self._records} {self._what} are damaged, more than"
        f" data.max_damaged = {self._share:g} allows; `mixit-jax doctor --data=FOLDER"
        f" --data-all` names them. The last: {error}"
      ) from error
    if not known:
      logging.warning("skipped, another one is drawn instead: %s", error)
