"""Which output of a pre-trained model carries which stem (paper, section 4.3).

In each chunk of the validation songs the sounding stems are matched with different
outputs so that their mean SNR is highest, and every match is a vote. SNRs pool the
channels and are computed in float64 from inner products, one product per chunk.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from mixit_jax.errors import UserError
from mixit_jax.files import write_json
from mixit_jax.stems import STEMS

Channels = Literal["all", "left"]

SELECTION_FILE = "channel_selection.json"
# A stem sounds in a chunk where its energy is above -60 dB of the chunk's mixture,
# as in the fine-tuning loss.
SOUNDING_DB = -60.0
MAX_SNR_DB = 100.0
# Samples that are converted to float64 at a time: they stay in the cache.
_BLOCK = 8192


class Products(NamedTuple):
  """Inner products of a chunk, or [...] of many: all that a selection needs."""

  power: np.ndarray  # [..., N] energies of the stems
  cross: np.ndarray  # [..., N, M] stems with outputs
  gram: np.ndarray  # [..., M, M] outputs with outputs
  sounding: np.ndarray  # [..., N] bool


@dataclass(frozen=True)
class ChunkMatch:
  """Matching of the stems of one chunk with outputs.

  Attributes:
    outputs: output of each stem [N], -1 for a stem that is silent or for which no
      output is left.
    snr: SNR of every output as an estimate of every stem [N, M] in dB, at most
      100 dB, NaN for silent stems.
  """

  outputs: np.ndarray
  snr: np.ndarray


@dataclass(frozen=True)
class ChannelSelection:
  """Outputs that stand for the stems, and how certain the choice is.

  Attributes:
    stems: names of the stems.
    outputs: output of each stem, all different.
    votes: chunks in which each stem was matched with each output, stems x outputs.
    confidence: share of each stem's votes that went to its own output.
    mean_snr_db: SNR of each stem's output, averaged over the chunks in which the stem
      sounds.
  """

  stems: tuple[str, ...]
  outputs: tuple[int, ...]
  votes: tuple[tuple[int, ...], ...]
  confidence: tuple[float, ...]
  mean_snr_db: tuple[float, ...]

  def to_dict(self) -> dict[str, Any]:
    """Return the selection as plain values for JSON."""
    return asdict(self)


class Choice(Protocol):
  """Outputs that were chosen for the stems."""

  def to_dict(self) -> dict[str, Any]:
    """Return the choice as plain values for JSON."""


def write_choice(file: Path, choice: Choice, card: Mapping[str, Any]) -> None:
  """Store a choice with the card of the weights that it was made for."""
  write_json(file, {**choice.to_dict(), "weights": dict(card)})


def match_channels(
  references: np.ndarray, estimates: np.ndarray, channels: Channels = "all"
) -> ChunkMatch:
  """Match sounding stems with outputs so that the mean SNR is highest.

  The result equals that of trying all permutations: the mean is a sum of one term per
  pair, which a linear assignment maximizes.

  Args:
    references: stems of a chunk [N, C, L].
    estimates: outputs for the chunk's mixture [M, C, L].
    channels: "all", or "left" for what the paper's implementation does.

  Returns:
    the matching.

  Raises:
    ValueError: the shapes do not fit, or samples are not finite.
  """
  return _match(inner_products(references, estimates, channels))


def vote_channels(
  chunks: Iterable[tuple[np.ndarray, np.ndarray]],
  stems: Sequence[str] = STEMS,
  channels: Channels = "all",
) -> ChannelSelection:
  """Select one output per stem by the votes of all chunks (paper, section 4.3).

  The choice is one-to-one: a linear assignment on the votes, where the SNR summed over
  chunks breaks ties. (The paper's implementation gives each stem the output with most
  of its votes: two stems may get the same one.) Chunks are read one at a time, and only
  their inner products are kept.

  Args:
    chunks: stems [N, C, L] and outputs [M, C, L] of each chunk.
    stems: names of the N stems.
    channels: "all", or "left" for what the paper's implementation does.

  Returns:
    the selection.

  Raises:
    UserError: there is no chunk, a stem never sounds, or there are fewer outputs
      than stems.
    ValueError: the shapes do not fit, or samples are not finite.
  """
  per_chunk = [inner_products(*chunk, channels) for chunk in chunks]
  if not per_chunk:
    raise UserError(
      "channel selection found no chunk: give at least one song that is as long as "
      "a chunk"
    )
  num_stems, num_outputs = _common_sizes(per_chunk, len(stems))
  votes = np.zeros((num_stems, num_outputs), dtype=np.int64)
  total_snr = np.zeros((num_stems, num_outputs))
  for chunk in per_chunk:
    match = _match(chunk)
    matched = match.outputs >= 0
    votes[matched, match.outputs[matched]] += 1
    total_snr += np.nan_to_num(match.snr)
  chunks_per_stem = votes.sum(axis=1)
  if not chunks_per_stem.all():
    silent = [stems[n] for n in range(num_stems) if not chunks_per_stem[n]]
    raise UserError(
      f"channel selection found no chunk with {', '.join(silent)}: add songs in which "
      "every stem sounds"
    )
  # The tie-break adds less than one vote in all.
  span = max(float(np.ptp(total_snr)), 1e-9)
  scores = votes + (total_snr - total_snr.min()) / span / (2 * num_stems)
  _, outputs = linear_sum_assignment(scores, maximize=True)
  products = Products(*(np.stack(arrays) for arrays in zip(*per_chunk, strict=True)))
  mean_snr = _stem_snrs(products, outputs)
  return ChannelSelection(
    stems=tuple(stems),
    outputs=tuple(int(output) for output in outputs),
    votes=tuple(tuple(int(vote) for vote in row) for row in votes),
    confidence=tuple(
      float(votes[n, output] / chunks_per_stem[n]) for n, output in enumerate(outputs)
    ),
    mean_snr_db=tuple(float(value) for value in mean_snr),
  )


def inner_products(
  references: np.ndarray, estimates: np.ndarray, channels: Channels
) -> Products:
  """Compute inner products of stems and outputs, pooled over the channels used.

  Raises:
    ValueError: the shapes do not fit, or samples are not finite.
  """
  if channels not in ("all", "left"):
    raise ValueError(f"channels must be 'all' or 'left', not {channels!r}")
  if references.ndim != 3 or references.shape[1:] != estimates.shape[1:]:
    raise ValueError(
      "references must be [N, C, L] and estimates [M, C, L], not "
      f"{references.shape} and {estimates.shape}"
    )
  used = slice(None) if channels == "all" else slice(0, 1)
  rows = len(references) + len(estimates)
  products = np.zeros((rows, rows))
  for start in range(0, references.shape[-1], _BLOCK):
    block = (slice(None), used, slice(start, start + _BLOCK))
    signals = np.concatenate([references[block], estimates[block]], dtype=np.float64)
    signals = signals.reshape(rows, -1)
    with np.errstate(invalid="ignore", over="ignore"):  # checked below
      products += signals @ signals.T
  if not np.isfinite(products).all():
    raise ValueError("references or estimates hold samples that are not finite")
  n = len(references)
  stems = products[:n, :n]
  power = np.diagonal(stems).copy()
  # The sum of all inner products of the stems is the energy of their mixture.
  sounding = power > 10.0 ** (SOUNDING_DB / 10.0) * max(stems.sum(), 0.0)
  return Products(power, products[:n, n:], products[n:, n:], sounding)


def snr_db(power: np.ndarray | float, error: np.ndarray | float) -> np.ndarray:
  """Compute an SNR in dB, at most `MAX_SNR_DB`: inner products do not resolve more."""
  return 10.0 * np.log10(
    power / np.maximum(error, 10.0 ** (-MAX_SNR_DB / 10.0) * power)
  )


def _match(products: Products) -> ChunkMatch:
  """Match the stems of one chunk with outputs."""
  power, cross, gram, sounding = products
  error = power[:, None] - 2.0 * cross + np.diagonal(gram)[None, :]
  snr = np.full(cross.shape, np.nan)
  snr[sounding] = snr_db(power[sounding, None], error[sounding])
  outputs = np.full(len(power), -1, dtype=np.int64)
  rows, columns = linear_sum_assignment(snr[sounding], maximize=True)
  outputs[np.flatnonzero(sounding)[rows]] = columns
  return ChunkMatch(outputs, snr)


def _common_sizes(products: list[Products], num_stems: int) -> tuple[int, int]:
  """Return the numbers of stems and outputs, which all chunks must share."""
  shapes = {chunk.cross.shape for chunk in products}
  if len(shapes) > 1 or next(iter(shapes))[0] != num_stems:
    raise ValueError(
      f"every chunk must have {num_stems} stems and equally many outputs, but the "
      f"sizes (stems, outputs) are {sorted(shapes)}"
    )
  num_outputs = next(iter(shapes))[1]
  if num_outputs < num_stems:
    raise UserError(
      f"channel selection needs at least one output per stem, but the model has "
      f"{num_outputs} outputs for {num_stems} stems: pre-train with more outputs"
    )
  return num_stems, num_outputs


def _stem_snrs(products: Products, outputs: np.ndarray) -> np.ndarray:
  """Return the SNR of each stem's output [N], averaged over chunks where it sounds."""
  power, cross, gram, sounding = products
  stems = np.arange(len(outputs))
  error = power - 2.0 * cross[:, stems, outputs] + gram[:, outputs, outputs]
  snr = snr_db(np.where(sounding, power, 1.0), error)
  return np.sum(snr, axis=0, where=sounding) / np.sum(sounding, axis=0)
