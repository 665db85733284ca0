"""Which weighted sums of a pre-trained model's outputs are nearest to the stems.

Where `channels` selects one output for each stem, as the paper does, the others are
lost, and MixIT divides a stem among several. Here every output counts for every stem,
in each band by as much as makes it better. Everything follows from inner products, in
float64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import Products, inner_products, snr_db
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.separator.spectral import stft

SUMS_FILE = "output_sums.json"
# Each output counts as if this share of its energy were noise. What is little use on
# the songs at hand, and may be none on others, gets small weights.
RIDGE = 0.3
# In each band, a weight that differs from the common one of all bands counts as an
# error too, with this share of the energy of what it adds or lacks.
PULL = 1.0
_ROUNDS = 200
_CONVERGED = 1e-9


@dataclass(frozen=True)
class OutputSums:
  """Weighted sums of outputs that stand for the stems.

  Attributes:
    stems: names of the N stems.
    sums: weights of the M outputs in the sum of each stem in each of K bands, stems x
      outputs x bands.
    sdr_db: SDR of each sum, averaged over the songs.
    single_sdr_db: the same of the best single output for each stem, as it is.
  """

  stems: tuple[str, ...]
  sums: tuple[tuple[tuple[float, ...], ...], ...]
  sdr_db: tuple[float, ...]
  single_sdr_db: tuple[float, ...]

  def to_dict(self) -> dict[str, Any]:
    """Return the sums as plain values for JSON."""
    return asdict(self)


def fit_sums(
  songs: Iterable[Iterable[tuple[np.ndarray, np.ndarray]]],
  stems: Sequence[str],
  config: SeparatorConfig,
  ridge: float = RIDGE,
  pull: float = PULL,
) -> OutputSums:
  """Find the weights that give every stem the highest mean uSDR.

  As in the scores, the SDR is that of whole songs, and each song counts alike: one loud
  song must not decide alone. The logarithm of the error has no closed solution; least
  squares in which each song weighs as its error of the round before never make it
  worse (majorization-minimization). Weights that all bands have in common are found
  first, then those of each band.

  Args:
    songs: for each song its chunks: stems [N, C, L] and outputs [M, C, L].
    stems: names of the N stems.
    config: of the separator: its windows and bands.
    ridge: share of the energy of each output that counts as noise of its own.
    pull: how much differences between the bands count as errors.

  Raises:
    UserError: there is no chunk, a stem never sounds, or there are fewer outputs than
      stems.
    ValueError: the shapes do not fit, or samples are not finite.
  """
  totals = [total for chunks in songs if (total := _total(chunks, config)) is not None]
  _check(totals, stems)
  weights = [_fit(_in_songs_with(totals, n), ridge, pull) for n in range(len(stems))]
  single = np.eye(totals[0].gram.shape[-1])[:, None]
  return OutputSums(
    stems=tuple(stems),
    sums=tuple(tuple(map(tuple, each.T.tolist())) for each in weights),
    sdr_db=tuple(_sdr(totals, n, each) for n, each in enumerate(weights)),
    single_sdr_db=tuple(
      max(_sdr(totals, n, each) for each in single) for n in range(len(stems))
    ),
  )


# Energy of a stem in a song, its inner products with the outputs in each band [K, M],
# and those of the outputs with one another [K, M, M].
_Stem = tuple[float, np.ndarray, np.ndarray]


def _fit(songs: list[_Stem], ridge: float, pull: float) -> np.ndarray:
  """Return the weights [K, M] of the outputs for one stem."""
  together = [
    (power, cross.sum(axis=0, keepdims=True), gram.sum(axis=0, keepdims=True))
    for power, cross, gram in songs
  ]
  common = _solve(together, ridge, 0.0, np.zeros_like(together[0][1]))
  return _solve(songs, ridge, pull, np.broadcast_to(common, songs[0][1].shape))


def _solve(
  songs: list[_Stem], ridge: float, pull: float, common: np.ndarray
) -> np.ndarray:
  """Minimize the mean log error over weights [K, M], with noise and pull."""
  weights = common
  for _ in range(_ROUNDS):
    left, right = np.zeros_like(songs[0][2]), np.zeros_like(common)
    for song in songs:
      _, cross, gram = song
      energies = np.diagonal(gram, axis1=1, axis2=2)
      error = _error(song, weights) + np.sum(
        energies * (ridge * weights**2 + pull * (weights - common) ** 2)
      )
      noise = (ridge + pull) * energies[..., None] * np.eye(energies.shape[1])
      left += (gram + noise) / error
      right += (cross + pull * energies * common) / error
    # Outputs that are silent throughout get none.
    inverse = np.linalg.pinv(left, rcond=1e-13, hermitian=True)
    new = np.einsum("kmn,kn->km", inverse, right)
    converged = np.max(np.abs(new - weights)) < _CONVERGED
    weights = new
    if converged:
      break
  return weights


def _error(song: _Stem, weights: np.ndarray) -> float:
  """Return the energy of the error of a sum, no less than rounding leaves."""
  power, cross, gram = song
  weights = np.broadcast_to(weights, cross.shape)
  error = power - 2 * np.sum(cross * weights)
  error += np.einsum("km,kmn,kn->", weights, gram, weights)
  return float(max(error, 1e-10 * power))


def _total(
  chunks: Iterable[tuple[np.ndarray, np.ndarray]], config: SeparatorConfig
) -> Products | None:
  """Add the products of the chunks of a song; None if it has none."""
  each = [_band_products(*chunk, config) for chunk in chunks]
  if not each:
    return None
  power, cross, gram = (
    np.sum([getattr(chunk, name) for chunk in each], axis=0)
    for name in ("power", "cross", "gram")
  )
  sounding = np.any([chunk.sounding for chunk in each], axis=0)
  return Products(power, cross, gram, sounding)


def _band_products(
  references: np.ndarray, estimates: np.ndarray, config: SeparatorConfig
) -> Products:
  """Compute inner products of stems and outputs in every band, [K, ...] of each."""
  sounding = inner_products(references, estimates, "all").sounding
  signals = np.concatenate([references, estimates], dtype=np.float32)
  audio = jnp.asarray(signals)
  spectra = np.array(stft(audio, config.n_fft, config.hop, drop_last=False))
  # Of a one-sided spectrum all bins but the first and the last stand for two.
  spectra[..., 1:-1] *= np.sqrt(2)
  products = []
  for band in np.split(spectra, np.cumsum(config.bands)[:-1], axis=-1):
    rows = np.ascontiguousarray(band).view(np.float32).reshape(len(signals), -1)
    rows = rows.astype(np.float64)
    products.append(rows @ rows.T)
  every, n = np.stack(products), len(references)
  power = np.diagonal(every, axis1=1, axis2=2)[:, :n]
  return Products(power, every[:, :n, n:], every[:, n:, n:], sounding)


def _check(totals: list[Products], stems: Sequence[str]) -> None:
  """Raise a UserError unless every stem can be a sum of outputs."""
  if not totals:
    raise UserError(
      "channel selection found no chunk: give at least one song that is as long as "
      "a chunk"
    )
  num_outputs = totals[0].gram.shape[-1]
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
    (float(power[:, stem].sum()), cross[:, stem], gram)
    for power, cross, gram, sounding in totals
    if sounding[stem]
  ]


def _sdr(totals: list[Products], stem: int, weights: np.ndarray) -> float:
  """Return the SDR in dB of a sum, averaged over the songs with the stem."""
  songs = _in_songs_with(totals, stem)
  return float(np.mean([snr_db(song[0], _error(song, weights)) for song in songs]))
