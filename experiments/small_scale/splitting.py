"""Does a pre-trained model split mixtures of mixtures into sources, or undo the mixing?

    python -m experiments.small_scale.splitting --run=RUN --weights=STEP \
      --pairs=independent --json=FILE

The title of the paper asks it. Two songs whose stems are known are added. An output
that holds a part of one stem is nearer to that stem than to the mixture that it came
from; an output of a model that undoes the mixing is nearer to a mixture. Outputs are
compared with the eight stems and with the two mixtures, at their best gain.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from data_prep.command import positive_float, positive_int
from data_prep.synthetic.songs import render
from mixit_jax.console import run_command
from mixit_jax.devices.start import enable_compilation_cache
from mixit_jax.files import write_json
from mixit_jax.separator.compiled import chunk_separator
from mixit_jax.weights.runs import read_weights

PAIRS = ("independent", "aligned", "halves")
# Of the songs: none of the generator's own seeds has so many numbers.
_SEED = (29, 7, 0, 1)
_MAX_SDR = 60.0
_BATCH = 4


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
  """Read the command line; see --help."""
  parser = argparse.ArgumentParser(
    prog="python -m experiments.small_scale.splitting",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  flag = parser.add_argument
  flag("--run", type=Path, required=True, help="pre-trained run")
  flag("--weights", default="mean", help="mean, best, latest, ema or a step (mean)")
  flag("--pairs", choices=PAIRS, default="independent", help="kind of pairs")
  flag("--count", type=positive_int, default=40, help="pairs (%(default)s)")
  flag("--seconds", type=positive_float, default=4.0, help="of a pair (%(default)s)")
  flag("--sample-rate", type=positive_int, default=8000, help="in Hz (%(default)s)")
  flag("--json", type=Path, required=True, help="where the result is written")
  return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
  """Measure a run on pairs of new songs."""
  flags = parse_flags(arguments)
  enable_compilation_cache()
  weights = read_weights(flags.run, flags.weights)
  separate = chunk_separator(weights.config, weights.params)
  stems = [
    draw_pair(flags.pairs, number, flags.seconds, flags.sample_rate)
    for number in range(flags.count)
  ]
  rows = []
  for first in range(0, len(stems), _BATCH):
    part = stems[first : first + _BATCH]
    mixtures = np.stack([pair.sum(axis=(0, 1)) for pair in part])
    padded = np.pad(mixtures, ((0, _BATCH - len(part)), (0, 0), (0, 0)))
    outputs = np.asarray(separate(padded))
    rows += [compare(pair, out) for pair, out in zip(part, outputs, strict=False)]
  write_json(flags.json, {"pairs": rows})


def draw_pair(pairs: str, number: int, seconds: float, rate: int) -> np.ndarray:
  """Return the stems of two mixtures of equal energy [2, N, C, L].

  Args:
    pairs: "independent": two songs; "aligned": two songs with the same tempo, meter,
      key and chords, beat on beat; "halves": two moments of one song.
    number: which pair.
    seconds: length L.
    rate: sample rate in Hz.
  """
  lead = 4.0  # songs begin together, and parts may enter late
  length = round(seconds * rate)
  song = (*_SEED, PAIRS.index("independent"), number)
  other = (*song, 1)
  if pairs == "halves":
    whole = _stems(render(song, 2 * (lead + seconds), rate))
    starts = (round(lead * rate), whole.shape[-1] - length)
    sides = [whole[..., start : start + length] for start in starts]
  else:
    forms = (song, song if pairs == "aligned" else other)
    sides = [
      _stems(render(seed, lead + seconds, rate, form=form))[..., -length:]
      for seed, form in zip((song, other), forms, strict=True)
    ]
  return np.stack(
    [side / np.sqrt(np.mean(side.sum(axis=0) ** 2) + 1e-12) / 10 for side in sides]
  )


def _stems(song: dict[str, np.ndarray]) -> np.ndarray:
  return np.stack(list(song.values())).astype(np.float32)


def compare(stems: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
  """Compare outputs with the stems and with the mixtures that they came from.

  Args:
    stems: of two mixtures [2, N, C, L].
    outputs: of the model [M, C, L].

  Returns:
    `stems_db` and `mixtures_db`: SDR of the best one-to-one assignment of outputs to
    the sounding stems and to the mixtures, and how much better that is than the
    unprocessed input (`…_gain_db`); `remixed_db`: SDR of the mixtures from sums of
    outputs, each assigned to the nearer mixture; `stem_like`: share of the outputs'
    energy in outputs that are nearer to a stem than to either mixture.
  """
  mixtures = stems.sum(axis=1).reshape(2, -1).astype(float)
  sources = stems.reshape(-1, stems.shape[-1] * stems.shape[-2]).astype(float)
  total = mixtures.sum(axis=0)
  energy = np.sum(sources**2, axis=1)
  sources = sources[energy > 1e-4 * energy.sum()]
  outputs = outputs.reshape(len(outputs), -1).astype(float)

  by_stem, by_mixture = sdr(sources, outputs), sdr(mixtures, outputs)
  trivial_stems, trivial_mixtures = (sdr(r, total[None]) for r in (sources, mixtures))
  stems_db, mixtures_db = _assigned(by_stem), _assigned(by_mixture)
  loud = np.sum(outputs**2, axis=1)
  nearer = by_stem.max(axis=0) > by_mixture.max(axis=0)
  products = mixtures @ outputs.T
  side = products.argmax(axis=0)
  remixed = [
    float(_sdr_db(mixtures[m], outputs[side == m].sum(axis=0))) for m in range(2)
  ]
  return {
    "stems_db": stems_db,
    "stems_gain_db": stems_db - float(trivial_stems.mean()),
    "mixtures_db": mixtures_db,
    "mixtures_gain_db": mixtures_db - float(trivial_mixtures.mean()),
    "remixed_db": float(np.mean(remixed)),
    "stem_like": float(loud[nearer].sum() / max(loud.sum(), 1e-12)),
  }


def sdr(references: np.ndarray, estimates: np.ndarray) -> np.ndarray:
  """Return the SDR in dB of estimates [M, L] at their best gain [references, M]."""
  cross = (references @ estimates.T) ** 2
  powers = np.outer(np.sum(references**2, axis=1), np.sum(estimates**2, axis=1))
  alike = np.clip(cross / np.maximum(powers, 1e-20), 0, 1 - 10 ** (-_MAX_SDR / 10))
  return -10 * np.log10(1 - alike)


def _sdr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
  error = np.sum((reference - estimate) ** 2)
  return 10 * np.log10(np.sum(reference**2) / max(error, 1e-12))


def _assigned(table: np.ndarray) -> float:
  """Return the mean of the best one-to-one assignment."""
  rows, columns = linear_sum_assignment(table, maximize=True)
  return float(table[rows, columns].mean())


if __name__ == "__main__":
  sys.exit(run_command(main))
