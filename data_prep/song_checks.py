"""Read every song once, whole: are its files intact, aligned and a sum?

What is found stands in a report beside the result, so that it is measured once. A
report is void when a file of the song has changed since.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import fft

from data_prep.crashes import CrashLog
from data_prep.segments import NUM_CHANNELS, quiet_decoders
from data_prep.shards import printable
from data_prep.song_files import Rules, SongFiles
from data_prep.sums import read_sum, sum_of
from mixit_jax.audio.files import AudioError, read_audio
from mixit_jax.data.songs import MAX_DIFFERENCE_SECONDS
from mixit_jax.files import read_json, write_json

# A mixture is the sum of its stems where what remains lies below this.
SUM_DB = -20.0
# Shifts of up to this are looked for; one counts from the second number on.
_MOST_SHIFT_SECONDS = 5.0
_LEAST_SHIFT_SECONDS = 0.01
_LEAST_CORRELATION = 0.5
_FLOOR = 1e-12


@dataclass(frozen=True)
class SongCheck:
  """The check of one song.

  Attributes:
    song: its files.
    report_path: file of the report.
    sample_rate: at which it is read, in Hz.
  """

  song: SongFiles
  report_path: Path
  sample_rate: int

  def is_finished(self) -> bool:
    """Tell whether the song was checked as it is now."""
    if not self.report_path.is_file():
      return False
    return read_json(self.report_path, "delete it").get("stamps") == self._stamps()

  def run(self) -> None:
    """Read the song and write the report."""
    self.report_path.parent.mkdir(parents=True, exist_ok=True)
    crashes = CrashLog(self.report_path.with_suffix(".running"))
    try:
      with crashes.watch(self.song.name):
        report = measure(self.song, self.sample_rate)
    except AudioError as error:
      report = {"broken": printable(Path(error.file).name), "reason": error.reason}
    write_json(self.report_path, {"stamps": self._stamps(), **report})
    crashes.close()

  def report(self) -> dict[str, Any]:
    """Return what was found; see `measure`."""
    return read_json(self.report_path, "delete it")

  def _stamps(self) -> list[list[Any]]:
    """Return name, size and time of each file."""
    song = self.song
    files = [*song.files, *[song.mixture] * bool(song.mixture)]
    stats = [(file, (song.folder / file).stat()) for file in files]
    return [[printable(f), s.st_size, s.st_mtime_ns] for f, s in stats]


def measure(song: SongFiles, rate: int) -> dict[str, Any]:
  """Measure length, alignment and sum of a song.

  Returns:
    `seconds`: length of each stem, and of the mixture where there is one;
    `mixture_db`: energy of mixture - sum over that of the mixture;
    `gain_db`, `after_gain_db`: best gain of the sum, and what then remains;
    `late`: seconds by which stems lie behind the mixture, where the sum is not the
      mixture and a shift explains it.

  Raises:
    AudioError: a file cannot be read.
  """
  with quiet_decoders():
    stems = {
      stem: read_sum([song.folder / file for file in files], rate, NUM_CHANNELS)
      for stem, files in song.stems
      if files
    }
    mixture = (
      read_audio(song.folder / song.mixture, rate, NUM_CHANNELS)
      if song.mixture
      else None
    )
  seconds = {stem: audio.shape[1] / rate for stem, audio in stems.items()}
  if mixture is None:
    return {"seconds": seconds}
  length = mixture.shape[1]
  total = sum_of(list(stems.values()), NUM_CHANNELS, length)
  found: dict[str, Any] = {"seconds": seconds | {"mixture": length / rate}}
  energy, cross, power = _products(mixture, total)
  gain = max(cross / max(power, _FLOOR), _FLOOR)
  found["mixture_db"] = _decibels(energy - 2 * cross + power, energy)
  found["gain_db"] = 20 * float(np.log10(gain))
  left = energy - 2 * gain * cross + gain**2 * power
  found["after_gain_db"] = _decibels(left, energy)
  if found["mixture_db"] > SUM_DB:
    late = {s: _lateness(mixture - total, a, rate) for s, a in stems.items()}
    found["late"] = {stem: value for stem, value in late.items() if value}
  return found


def judge(report: dict[str, Any], rules: Rules) -> dict[str, str]:
  """Say what is wrong with a song that was checked, by the rule that decides."""
  if "broken" in report:
    return {"broken": f"{report['broken']}: {report['reason']}"}
  problems = {}
  seconds = report["seconds"]
  shortest, longest = min(seconds, key=seconds.get), max(seconds, key=seconds.get)
  shifts = []
  if seconds[longest] - seconds[shortest] > MAX_DIFFERENCE_SECONDS:
    shifts = [
      f"{longest} has {seconds[longest]:.2f} s and {shortest} {seconds[shortest]:.2f} s"
    ]
  shifts += [
    f"{stem} lies {abs(late):.3f} s {'late' if late > 0 else 'early'}"
    for stem, late in report.get("late", {}).items()
  ]
  if shifts:
    problems["misaligned"] = ", ".join(shifts)
  elif rules.mixture != "sum" and report.get("mixture_db", SUM_DB) > SUM_DB:
    after = ""
    if report["after_gain_db"] < report["mixture_db"] - 1:
      gain, left = report["gain_db"], report["after_gain_db"]
      after = f", or {left:.1f} dB after a gain of {gain:+.1f} dB"
    problems["mixture"] = (
      f"the mixture differs from the sum of its stems by {report['mixture_db']:.1f} dB"
      + after
    )
  return problems


def _products(mixture: np.ndarray, total: np.ndarray) -> tuple[float, float, float]:
  """Return |mixture|^2, <mixture, total> and |total|^2."""
  a, b = mixture.ravel(), total.ravel()
  return float(np.dot(a, a)), float(np.dot(a, b)), float(np.dot(b, b))


def _decibels(power: float, reference: float) -> float:
  return round(10 * float(np.log10(max(power, _FLOOR) / max(reference, _FLOOR))), 2)


def _lateness(rest: np.ndarray, stem: np.ndarray, rate: int) -> float:
  """Return the seconds by which a stem lies late; 0 where no shift explains the rest.

  The rest of the mixture and the stem together are the stem as it lies in the mixture,
  where all others are right.
  """
  length = min(rest.shape[1], stem.shape[1])
  found = stem[:, :length].mean(axis=0)
  there = rest[:, :length].mean(axis=0) + found
  most = min(round(_MOST_SHIFT_SECONDS * rate), length - 1)
  size = fft.next_fast_len(length + most, real=True)
  spectrum = fft.rfft(found, size) * np.conj(fft.rfft(there, size))
  products = np.roll(fft.irfft(spectrum, size), most)[: 2 * most + 1]
  at = int(np.argmax(products))
  largest = float(np.linalg.norm(found) * np.linalg.norm(there))
  if products[at] <= _LEAST_CORRELATION * largest:  # or nothing sounds
    return 0.0
  late = (at - most) / rate
  return late if abs(late) >= _LEAST_SHIFT_SECONDS else 0.0
