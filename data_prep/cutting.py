"""Cut one track into records, in bounded memory.

A track is decoded block by block. Its records wait, in memory or on disk, until its end
is reached: only then is known whether it can be used.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from data_prep.segments import NUM_CHANNELS, Cut, quiet_decoders, segments_of
from data_prep.tracks import Damage, UnusableError
from mixit_jax.audio.activity import is_mostly_silent
from mixit_jax.audio.decoding import DamagedAudioError, Decoding, open_audio
from mixit_jax.audio.resampling import resample_blocks, resampled_length

DamageRule = Literal["use", "refuse"]

_HASHED = 16  # one sample of so many enters the hash over the audio
_IN_MEMORY = 64 << 20  # bytes of records; those of longer tracks wait on disk
_SIZE_BYTES = 8
_TORN = 0.25  # s before the end of a file that was cut, where frames may be torn


@dataclass(frozen=True)
class Rules:
  """Which tracks are used, and how.

  Attributes:
    cut: how segments are cut.
    strict: whether to refuse mono files and low sample rates, as the paper does.
    damaged: whether a track that is shorter than it announces, or has a hole, is used
      up to there or refused.
  """

  cut: Cut
  strict: bool
  damaged: DamageRule


@dataclass(frozen=True)
class CutTrack:
  """A track in segments.

  Attributes:
    audio: hash over the decoded audio.
    seconds: length of the decoded audio.
    count: number of records.
    records: the segments that sound, encoded; to be taken once.
    damage: what is missing; None where nothing is.
    warning: what seems wrong with the samples.
  """

  audio: str
  seconds: float
  count: int
  records: Iterator[bytes]
  damage: Damage | None
  warning: str


def cut_track(path: Path, name: str, rules: Rules, folder: Path) -> CutTrack:
  """Decode a track and encode its segments, but for those that are mostly silent.

  Args:
    path: of the file.
    name: of the track, for errors and records.
    rules: which tracks are used.
    folder: for a file of records that do not fit into memory.

  Raises:
    AudioError: it cannot be decoded.
    UnusableError: it can, but is not used.
  """
  spool = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115
  try:
    with quiet_decoders():
      opened = open_audio(path, name)
      return _cut(opened, name, rules, spool)
  except BaseException:
    spool.close()
    raise


def _cut(opened: Decoding, name: str, rules: Rules, spool: IO[bytes]) -> CutTrack:
  cut, rate = rules.cut, opened.sample_rate
  _check_format(name, opened, rules)
  track = _Reading(opened)
  audio = _at_rate(track, cut.sample_rate)
  silent, ends = 0, list[float]()
  for start, segment in segments_of(
    audio, cut.samples, round(cut.hop * cut.sample_rate)
  ):
    if is_mostly_silent(_as_recorded(segment), cut.sample_rate):
      silent += 1
      continue
    if len(segment) == 1:
      segment = np.repeat(segment, NUM_CHANNELS, axis=0)
    record = cut.record(name, segment, start)
    spool.write(len(record).to_bytes(_SIZE_BYTES) + record)
    ends.append(start / cut.sample_rate + cut.seconds)
  seconds = track.length / rate
  damage = track.damage()
  count = len(ends) if damage is None else sum(end < seconds - _TORN for end in ends)
  if damage and rules.damaged == "refuse":
    raise UnusableError(name, "damaged", f"{damage.reason} (see --damaged)")
  whole = "" if damage is None else f" that can be used ({damage.reason})"
  if not silent + count:
    raise UnusableError(
      name,
      "too short" if damage is None else "damaged",
      f"its {seconds:.2f} s{whole} are shorter than a segment of {cut.seconds:g} s",
    )
  if not count:
    raise UnusableError(
      name, "silent", f"all of its {silent} segments are mostly silent"
    )
  spool.seek(0)
  records = _unspooled(spool, count)
  return CutTrack(track.hash(), seconds, count, records, damage, opened.warning)


class _Reading:
  """A track while it is decoded: how long it is, a hash over it, where it breaks."""

  def __init__(self, opened: Decoding):
    self.opened, self.length = opened, 0
    self._broken: DamagedAudioError | None = None
    self._hash = hashlib.sha256(f"{opened.sample_rate} {opened.num_channels} ".encode())

  def blocks(self) -> Iterator[np.ndarray]:
    """Yield the audio [C, l] that is sound."""
    try:
      for block in self.opened.blocks:
        phase = -self.length % _HASHED
        self._hash.update(np.ascontiguousarray(block[:, phase::_HASHED].T).tobytes())
        self.length += block.shape[1]
        yield block
    except DamagedAudioError as error:
      self._broken = error

  def hash(self) -> str:
    """Return the hash over what was decoded; it tells apart what differs."""
    self._hash.update(str(self.length).encode())
    return self._hash.hexdigest()[:32]

  def damage(self) -> Damage | None:
    """Tell what is missing."""
    opened, seconds = self.opened, self.length / self.opened.sample_rate
    short = (opened.announced or 0) - self.length
    lost = None if opened.announced is None else max(short, 0) / opened.sample_rate
    if self._broken is not None:
      return Damage(round(seconds, 3), _rounded(lost), self._broken.reason)
    if short > opened.slack:
      reason = f"cut: {seconds + short / opened.sample_rate:.2f} s are announced"
      return Damage(
        round(seconds, 3), _rounded(lost), f"{reason}, {seconds:.2f} s there"
      )
    if opened.cut:
      return Damage(round(seconds, 3), None, f"cut: {opened.cut}")
    return None


def _rounded(seconds: float | None) -> float | None:
  return None if seconds is None else round(seconds, 3)


def _at_rate(track: _Reading, rate: int) -> Iterator[np.ndarray]:
  """Resample a track; its length is that of `resampling.resample`."""
  found = 0
  held: np.ndarray | None = None  # the last block waits for the length to be known
  for block in resample_blocks(track.blocks(), track.opened.sample_rate, rate):
    if held is not None:
      found += held.shape[1]
      yield held
    held = block
  if held is None:
    return
  length = resampled_length(track.length, track.opened.sample_rate, rate)
  missing = length - found - held.shape[1]
  yield np.pad(held, ((0, 0), (0, max(missing, 0))))[:, : length - found]


def _as_recorded(segment: np.ndarray) -> np.ndarray:
  """Scale a segment as its record will be: peaks beyond 1 make the rest quieter."""
  return segment / max(1.0, float(np.abs(segment).max()))


def _unspooled(spool: IO[bytes], count: int) -> Iterator[bytes]:
  with spool:
    for _ in range(count):
      yield spool.read(int.from_bytes(spool.read(_SIZE_BYTES)))


def _check_format(name: str, opened: Decoding, rules: Rules) -> None:
  """Raise an UnusableError for a file with the wrong channels or too low a rate."""
  allowed = (NUM_CHANNELS,) if rules.strict else (1, NUM_CHANNELS)
  if opened.num_channels not in allowed:
    wanted = "stereo" if rules.strict else "mono or stereo"
    reason = f"has {opened.num_channels} channel(s), only {wanted} is accepted"
    raise UnusableError(name, "channels", reason)
  least = rules.cut.sample_rate
  if rules.strict and opened.sample_rate < least:
    reason = f"has a sample rate of {opened.sample_rate} Hz, at least {least} Hz is"
    raise UnusableError(name, "sample rate", f"{reason} accepted")
