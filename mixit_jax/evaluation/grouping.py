"""Which outputs of a pre-trained model make up which stem.

Where `channels` selects one output for each stem, as the paper does, the others are
lost, and MixIT divides a stem among several. Here every output is added to the stem
that it makes better. Everything follows from inner products, in float64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import Products, inner_products, snr_db

GROUPS_FILE = "channel_groups.json"
# In dB. What helps the songs at hand by less may well harm others.
LEAST_GAIN = 0.1


@dataclass(frozen=True)
class ChannelGroups:
  """Outputs that make up the stems.

  Attributes:
    stems: names of the stems.
    groups: outputs of each stem; some outputs may be in none.
    sdr_db: SDR of the sum of each group, averaged over the songs.
    single_sdr_db: the same of one output for each stem, where the search began.
  """

  stems: tuple[str, ...]
  groups: tuple[tuple[int, ...], ...]
  sdr_db: tuple[float, ...]
  single_sdr_db: tuple[float, ...]

  def to_dict(self) -> dict[str, Any]:
    """Return the groups as plain values for JSON."""
    return asdict(self)


def group_channels(
  songs: Iterable[Iterable[tuple[np.ndarray, np.ndarray]]],
  stems: Sequence[str],
  most: int,
  least_gain: float = LEAST_GAIN,
) -> ChannelGroups:
  """Group outputs so that the mean uSDR of the stems is high.

  As in the scores, the SDR is that of whole songs, and each song counts alike: one loud
  song must not decide alone. The search begins with the best single output for each
  stem and takes the best of all moves of one output from one group, or none, to
  another, until none helps enough.

  Args:
    songs: for each song its chunks: stems [N, C, L] and outputs [M, C, L].
    stems: names of the N stems.
    most: largest size of a group.
    least_gain: what a move must add to the sum of the SDRs of all stems, in dB.

  Raises:
    UserError: there is no chunk, a stem never sounds, or there are fewer outputs than
      stems.
    ValueError: the shapes do not fit, or samples are not finite.
  """
  totals = [total for chunks in songs if (total := _total(chunks)) is not None]
  _check(totals, stems)
  count, num_outputs = totals[0].cross.shape
  alone = np.array(
    [[_sdr(totals, n, [m]) for m in range(num_outputs)] for n in range(count)]
  )
  _, first = linear_sum_assignment(alone, maximize=True)
  owners = np.full(num_outputs, count)  # `count` is no stem
  owners[first] = np.arange(count)
  single = _sdrs(totals, owners)
  while True:
    moves = [
      moved
      for output in range(num_outputs)
      for owner in range(count + 1)
      if _is_allowed(moved := _moved(owners, output, owner), count, most)
    ]
    best = max(moves, key=lambda moved: _sdrs(totals, moved).sum())
    if _sdrs(totals, best).sum() < _sdrs(totals, owners).sum() + least_gain:
      break
    owners = best
  return ChannelGroups(
    stems=tuple(stems),
    groups=tuple(
      tuple(int(output) for output in np.flatnonzero(owners == n)) for n in range(count)
    ),
    sdr_db=tuple(_sdrs(totals, owners).tolist()),
    single_sdr_db=tuple(single.tolist()),
  )


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
  """Raise a UserError unless every stem can have an output."""
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


def _sdr(totals: list[Products], stem: int, group: list[int]) -> float:
  """Return the SDR in dB of the sum of a group, averaged over songs with the stem."""
  values = []
  for power, cross, gram, sounding in totals:
    if sounding[stem]:
      inside = gram[np.ix_(group, group)].sum()
      error = power[stem] - 2 * cross[stem, group].sum() + inside
      values.append(snr_db(power[stem], error))
  return float(np.mean(values))


def _sdrs(totals: list[Products], owners: np.ndarray) -> np.ndarray:
  """Return the SDR of every stem [N] where outputs belong to `owners` [M]."""
  stems = range(len(totals[0].power))
  groups = (np.flatnonzero(owners == n).tolist() for n in stems)
  return np.array([_sdr(totals, *pair) for pair in enumerate(groups)])


def _moved(owners: np.ndarray, output: int, owner: int) -> np.ndarray:
  moved = owners.copy()
  moved[output] = owner
  return moved


def _is_allowed(owners: np.ndarray, count: int, most: int) -> bool:
  """Tell whether every stem has an output, and none too many."""
  sizes = np.bincount(owners, minlength=count)[:count]
  return bool(sizes.min() >= 1 and sizes.max() <= most)
