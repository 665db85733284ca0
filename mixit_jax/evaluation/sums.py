"""Which weighted sums of a pre-trained model's outputs are nearest to the stems.

Where `channels` selects one output for each stem, as the paper does, the others are
lost, and MixIT divides a stem among several. Here every output counts for every stem,
by as much as makes it better. Everything follows from inner products, in float64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import Products, inner_products, snr_db

SUMS_FILE = "output_sums.json"
# Each output counts as if this share of its energy were noise. What is little use on
# the songs at hand, and may be none on others, gets small weights.
RIDGE = 0.3
_ROUNDS = 200
_CONVERGED = 1e-9


@dataclass(frozen=True)
class OutputSums:
  """Weighted sums of outputs that stand for the stems.

  Attributes:
    stems: names of the N stems.
    sums: weights of the M outputs in the sum of each stem, stems x outputs.
    sdr_db: SDR of each sum, averaged over the songs.
    single_sdr_db: the same of the best single output for each stem, as it is.
  """

  stems: tuple[str, ...]
  sums: tuple[tuple[float, ...], ...]
  sdr_db: tuple[float, ...]
  single_sdr_db: tuple[float, ...]

  def to_dict(self) -> dict[str, Any]:
    """Return the sums as plain values for JSON."""
    return asdict(self)


def fit_sums(
  songs: Iterable[Iterable[tuple[np.ndarray, np.ndarray]]],
  stems: Sequence[str],
  ridge: float = RIDGE,
) -> OutputSums:
  """Find the weights that give every stem the highest mean uSDR.

  As in the scores, the SDR is that of whole songs, and each song counts alike: one loud
  song must not decide alone. The logarithm of the error has no closed solution; least
  squares in which each song weighs as its error of the round before never make it
  worse (majorization-minimization).

  Args:
    songs: for each song its chunks: stems [N, C, L] and outputs [M, C, L].
    stems: names of the N stems.
    ridge: share of the energy of each output that counts as noise of its own.

  Raises:
    UserError: there is no chunk, a stem never sounds, or there are fewer outputs than
      stems.
    ValueError: the shapes do not fit, or samples are not finite.
  """
  totals = [total for chunks in songs if (total := _total(chunks)) is not None]
  _check(totals, stems)
  weights = np.stack(
    [_fit(_in_songs_with(totals, n), ridge) for n in range(len(stems))]
  )
  single = np.eye(len(totals[0].gram))
  return OutputSums(
    stems=tuple(stems),
    sums=tuple(map(tuple, weights.tolist())),
    sdr_db=tuple(_sdr(totals, n, row) for n, row in enumerate(weights)),
    single_sdr_db=tuple(
      max(_sdr(totals, n, row) for row in single) for n in range(len(stems))
    ),
  )


# Energy of a stem in a song, its inner products with the outputs [M], and those of the
# outputs with one another [M, M].
_Stem = tuple[float, np.ndarray, np.ndarray]


def _fit(songs: list[_Stem], ridge: float) -> np.ndarray:
  """Return the weights [M] of the outputs for one stem."""
  noisy = [
    (power, cross, gram + ridge * np.diag(np.diagonal(gram)))
    for power, cross, gram in songs
  ]
  weights: np.ndarray = np.zeros(len(noisy[0][1]))
  for _ in range(_ROUNDS):
    errors = [_error(song, weights) for song in noisy]
    gram = sum(gram / error for (_, _, gram), error in zip(noisy, errors, strict=True))
    cross = sum(c / error for (_, c, _), error in zip(noisy, errors, strict=True))
    # Outputs that are silent throughout get none.
    new = np.linalg.lstsq(gram, cross, rcond=None)[0]
    converged = np.max(np.abs(new - weights)) < _CONVERGED
    weights = new
    if converged:
      break
  return weights


def _error(song: _Stem, weights: np.ndarray) -> float:
  """Return the energy of the error of a sum, no less than rounding leaves."""
  power, cross, gram = song
  error = power - 2 * cross @ weights + weights @ gram @ weights
  return float(max(error, 1e-10 * power))


def _total(chunks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Products | None:
  """Add the products of the chunks of a song; None if it has none."""
  each = [inner_products(*chunk, "all") for chunk in chunks]
  if not each:
    return None
  power, cross, gram = (
    np.sum([getattr(chunk, name) for chunk in each], axis=0)
    for name in ("power", "cross", "gram")
  )
  sounding = np.any([chunk.sounding for chunk in each], axis=0)
  return Products(power, cross, gram, sounding)


def _check(totals: list[Products], stems: Sequence[str]) -> None:
  """Raise a UserError unless every stem can be a sum of outputs."""
  if not totals:
    raise UserError(
      "channel selection found no chunk: give at least one song that is as long as "
      "a chunk"
    )
  num_outputs = len(totals[0].gram)
  if num_outputs < len(stems):
    raise UserError(
      f"channel selection needs at least one output per stem, but the model has "
      f"{num_outputs} outputs for {len(stems)} stems: pre-train with more outputs"
    )
  heard = np.any([total.sounding for total in totals], axis=0)
  silent = [stem for stem, sounds in zip(stems, heard, strict=True) if not sounds]
  if silent:
    raise UserError(
      f"channel selection found no chunk with {', '.join(silent)}: add songs in which "
      "every stem sounds"
    )


def _in_songs_with(totals: list[Products], stem: int) -> list[_Stem]:
  """Return the products of a stem in all songs in which it sounds."""
  return [
    (float(power[stem]), cross[stem], gram)
    for power, cross, gram, sounding in totals
    if sounding[stem]
  ]


def _sdr(totals: list[Products], stem: int, weights: np.ndarray) -> float:
  """Return the SDR in dB of a sum, averaged over the songs with the stem."""
  songs = _in_songs_with(totals, stem)
  return float(np.mean([snr_db(song[0], _error(song, weights)) for song in songs]))
