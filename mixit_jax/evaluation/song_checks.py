"""Is a song what scores take it for? Figures of what looks wrong, in words."""

from collections.abc import Sequence

import numpy as np

# The mixture of a song in 16 bits differs from the sum of its stems by less than
# -70 dB, that of lossy files by about -20 dB. One sample of delay makes -15 to -30 dB.
MIXTURE_ERROR_DB = -30.0
# A stem counts as sounding above this, as in channel selection and fine-tuning.
SOUNDING_DB = -60.0

# A delay is named where mixture and sum correlate at least so well.
_ALIKE = 0.7
_SILENT_DB = -200.0  # stands for nothing at all


class SongChecks:
  """Sums over a song that comes in blocks, and what they tell."""

  def __init__(self, stems: Sequence[str], sample_rate: int):
    self._stems, self._rate = tuple(stems), sample_rate
    self._energy = np.zeros(len(self._stems))
    self._sum = self._mixture = self._error = 0.0
    # The loudest second of the mixture and of the sum of the stems, as mono [2, l].
    self._second = np.zeros((2, sample_rate), np.float32)
    self._loudest = (0.0, np.zeros((2, 1), np.float32))
    self._filled = 0

  def add(self, references: np.ndarray, mixture: np.ndarray) -> None:
    """Take the next block: stems [N, C, l] and mixture [C, l]."""
    summed = references.sum(axis=0)
    self._energy += [_energy(reference) for reference in references]
    self._sum += _energy(summed)
    self._mixture += _energy(mixture)
    self._error += _energy(mixture - summed)
    self._keep_loudest(np.stack([sum(mixture), sum(summed)]))

  def warnings(self) -> list[str]:
    """Say what looks wrong, one line for each matter."""
    found = []
    for stem, energy in zip(self._stems, self._energy, strict=True):
      level = _db(energy, self._mixture)
      if energy > 0 < self._mixture and level < SOUNDING_DB:
        found.append(
          f"{stem} is nearly silent ({level:.0f} dB of the mixture): its scores say"
          " little"
        )
    error = _db(self._error, self._mixture)
    if self._mixture == 0 < self._sum:
      found.append("the mixture is silent, its stems are not")
    elif error > MIXTURE_ERROR_DB:
      found.append(
        f"the mixture is not the sum of its stems: they differ by {error:.0f} dB of the"
        f" mixture{self._difference()}"
      )
    return found

  def _keep_loudest(self, block: np.ndarray) -> None:
    start = 0
    while start < block.shape[1]:
      part = block[:, start : start + self._rate - self._filled]
      self._second[:, self._filled : self._filled + part.shape[1]] = part
      self._filled += part.shape[1]
      start += part.shape[1]
      if self._filled == self._rate:
        self._compare()
        self._filled = 0

  def _compare(self) -> None:
    """Keep the second that was filled if it is the loudest so far."""
    filled = self._second[:, : self._filled]
    energy = _energy(filled)
    if energy > self._loudest[0]:
      self._loudest = energy, filled.copy()

  def _difference(self) -> str:
    """Describe how the mixture differs: later or earlier, louder or quieter."""
    if self._loudest[0] == 0:
      self._compare()  # shorter than a second
    mixture, summed = self._loudest[1]
    length = len(mixture)
    spectra = np.fft.rfft([mixture, summed], 2 * length)
    products = np.fft.irfft(spectra[0] * spectra[1].conj())
    norms = np.linalg.norm(mixture) * np.linalg.norm(summed)
    place = int(np.argmax(np.abs(products)))
    if not norms or abs(products[place]) < _ALIKE * norms:
      return ""
    delay = place if place < length else place - 2 * length
    gain_db = 10 * np.log10(self._mixture / self._sum)
    parts = []
    if delay:
      milliseconds = 1000 * abs(delay) / self._rate
      when = "late" if delay > 0 else "early"
      parts.append(f"{abs(delay)} samples ({milliseconds:.1f} ms) {when}")
    if products[place] < 0:
      parts.append("inverted")
    if abs(gain_db) > 0.05:
      parts.append(f"{abs(gain_db):.1f} dB {'louder' if gain_db > 0 else 'quieter'}")
    return f"; it is {', '.join(parts)}" if parts else ""


def _energy(signal: np.ndarray) -> float:
  """Return the sum of squares; float32 suffices for blocks, and for figures in dB."""
  flat = np.ascontiguousarray(signal).ravel()
  return float(np.dot(flat, flat))


def _db(energy: float, reference: float) -> float:
  """Return a ratio of energies in dB, at least -200."""
  if energy <= 0 or reference <= 0:
    return _SILENT_DB
  return max(_SILENT_DB, 10 * float(np.log10(energy / reference)))
