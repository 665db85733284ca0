"""What is asked of every recording: which results, how computed, how stored."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mixit_jax.audio.writing import mp3_bitrates
from mixit_jax.errors import UserError

FORMATS = ("wav", "flac", "mp3", "ogg")
BITS = ("float", "24", "16")
PEAKS = ("keep", "scale", "clip")
RATES = ("input", "model")
_BITRATE = 256  # of MP3 files, kbit/s

_MOST_SHIFTS = 100
_SUBTYPES = {"float": "FLOAT", "24": "PCM_24", "16": "PCM_16"}
# What each format can hold; the first is the default.
_FORMAT_BITS = {"wav": BITS, "flac": ("24", "16"), "mp3": (), "ogg": ()}


@dataclasses.dataclass(frozen=True)
class Request:
  """What is asked of every recording.

  Attributes:
    stems: names of the outputs to write; None for all.
    minus: names of outputs to subtract from the mixture, one more result for each.
    sum_to_mixture: whether what the outputs lack or have too much is divided equally
      among them, so that they sum to the recording.
    rate: sample rate of the results, that of the "input" or of the "model".
    downmix: whether recordings of more channels than the model's are mixed down.
    shifts: times that each recording is separated, each time a little later, for the
      mean of the results.
    format: "wav", "flac", "mp3" or "ogg".
    bits: of a sample, "float", "24" or "16"; None for float in WAV and 24 in FLAC.
    bitrate: of MP3 in kbit/s; None for 256, or the highest at a low sample rate.
    peaks: what happens to results above full scale. "keep", where the format has
      values above it; "scale" multiplies all results of a recording by one factor;
      "clip". None for keep, or clip in a format of whole numbers.
    overwrite: whether results that are there already are replaced.

  Raises:
    UserError: a value is unknown, or values contradict each other.
  """

  stems: tuple[str, ...] | None = None
  minus: tuple[str, ...] = ()
  sum_to_mixture: bool = False
  rate: str = "input"
  downmix: bool = False
  shifts: int = 1
  format: str = "wav"
  bits: str | None = None
  bitrate: int | None = None
  peaks: str | None = None
  overwrite: bool = False

  def __post_init__(self) -> None:
    """Settle what is open and refuse what cannot be."""
    _check_choice("rate", self.rate, RATES)
    _check_choice("format", self.format, FORMATS)
    if not 1 <= self.shifts <= _MOST_SHIFTS:
      raise UserError(f"--shifts={self.shifts}: expected 1 to {_MOST_SHIFTS}")
    possible = _FORMAT_BITS[self.format]
    if self.bits is None:
      object.__setattr__(self, "bits", next(iter(possible), None))
    elif self.bits not in possible:
      known = f"choose {' or '.join(possible)}" if possible else "it has none"
      raise UserError(f"--bits={self.bits} is not for --format={self.format}; {known}")
    if self.format == "mp3":
      rates = sorted({*mp3_bitrates(44_100), *mp3_bitrates(22_050)})
      if self.bitrate is not None and self.bitrate not in rates:
        listed = ", ".join(map(str, rates))
        raise UserError(f"--bitrate={self.bitrate}: MP3 has {listed} kbit/s")
    elif self.bitrate is not None:
      raise UserError(f"--bitrate is for --format=mp3, not {self.format}")
    whole = self.bits in ("24", "16")
    if self.peaks is None:
      object.__setattr__(self, "peaks", "clip" if whole else "keep")
    _check_choice("peaks", self.peaks, PEAKS)
    if self.peaks == "keep" and whole:
      raise UserError(
        f"--peaks=keep: {self.format} with {self.bits} bits has no values above full"
        " scale; choose scale or clip, or --format=wav --bits=float"
      )

  @property
  def subtype(self) -> str | None:
    """Encoding of the results as soundfile names it; None where a format has one."""
    return None if self.bits is None else _SUBTYPES[self.bits]

  def bitrate_at(self, sample_rate: int) -> int | None:
    """Return the bit rate of MP3 results at a sample rate; None for other formats."""
    if self.format != "mp3":
      return None
    return self.bitrate or min(_BITRATE, mp3_bitrates(sample_rate)[-1])

  def results(self, outputs: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Work out the results as sums of the mixture and the outputs.

    Args:
      outputs: names of the N outputs of the model.

    Returns:
      names of the K results, and their shares [K, 1 + N]: first of the mixture, then
      of the outputs.

    Raises:
      UserError: a name is not that of an output, or is given twice.
    """
    for flag, names in (("stems", self.stems or ()), ("minus", self.minus)):
      _check_names(flag, names, outputs)
    count = len(outputs)
    shares = np.eye(count, 1 + count, 1)
    if self.sum_to_mixture:
      shares += np.array([1.0, *[-1.0] * count]) / count
    wanted = outputs if self.stems is None else self.stems
    rows = [shares[outputs.index(name)] for name in wanted]
    mixture = np.eye(1, 1 + count)[0]
    rows += [mixture - shares[outputs.index(name)] for name in self.minus]
    names = (*wanted, *(f"no_{name}" for name in self.minus))
    if len(set(names)) < len(names):
      raise UserError(f"--minus: the model has an output named like {names[-1]}")
    return names, np.array(rows, np.float32)


def _check_choice(flag: str, value: str | None, choices: Sequence[str]) -> None:
  if value not in choices:
    raise UserError(f"--{flag}={value}: choose {', '.join(choices)}")


def _check_names(flag: str, names: Sequence[str], known: Sequence[str]) -> None:
  for name in names:
    if name not in known:
      raise UserError(f"--{flag}={name}: the model's outputs are {', '.join(known)}")
  if len(set(names)) < len(names):
    raise UserError(f"--{flag}={','.join(names)}: a name is given twice")
