"""What a file says of its own audio, against what is there.

libsndfile stops, without an error, at the length that a file claims, and in MP3 files
after some garbage and at a change of the rate or the channels. In FLAC files it
overlooks a change of the rate, and replaces lost frames with silence. In Ogg files it
splices what lies around lost pages, and of joined streams it reads only the first. It
reads WAV files without a word where their header announces more, or less, than they
hold.
"""

import mmap
from collections.abc import Callable
from typing import NamedTuple

from mixit_jax.audio.scanners import flac, mp3, ogg, wav

ENDLESS = 2**63
# MP3 decoders trim what encoders add at both ends, up to this many samples.
_MP3_DELAYS = 8 * 1152
_MP3_SLACK = 2 * 1152  # the last frame may be one of padding
_OPUS_RATE = 48_000
_MOST_FLAC_SAMPLES = 2**36 - 1


class Integrity(NamedTuple):
  """What is known of a file before it is decoded. Numbers are samples per channel.

  Attributes:
    least: that the decoder must deliver.
    sound: before the first hole.
    hole: what is wrong there.
    announced: by the header; None where it leaves that open.
    slack: by which less than that is still whole.
    rates: of the frames, in Hz, where they state them.
    channels: of the frames, where they state them.
    repair: makes a file whose claimed length is not too short; None where it is not.
    chained: whether several streams follow one another.
    cut: why the end is known to be missing, though not how much; else empty.
    warning: what seems wrong with the samples; else empty.
  """

  least: int = 0
  sound: int = ENDLESS
  hole: str = ""
  announced: int | None = None
  slack: int = 0
  rates: frozenset[int] = frozenset()
  channels: frozenset[int] = frozenset()
  repair: Callable[[], bytes] | None = None
  chained: bool = False
  cut: str = ""
  warning: str = ""


def examine(
  content: bytes | mmap.mmap, kind: str, rate: int, claimed: int
) -> Integrity:
  """Scan a file.

  Args:
    content: of the file.
    kind: its format, as soundfile names it.
    rate: its sample rate in Hz.
    claimed: its length, as libsndfile reads it from the header.
  """
  examiners = {"MP3": _mp3, "FLAC": _flac, "OGG": _ogg}
  return examiners.get(kind, _other)(content, rate, claimed)


def _mp3(content: bytes | mmap.mmap, rate: int, claimed: int) -> Integrity:
  del rate
  stream = mp3.scan(content)
  least = stream.num_samples - _MP3_DELAYS
  sound = ENDLESS
  if stream.sound is not None:
    per_frame = stream.num_samples // max(stream.num_frames, 1)
    sound = max(stream.sound * per_frame - _MP3_DELAYS, 0)
  return Integrity(
    least=least,
    sound=sound,
    hole="what follows are not frames of MP3",
    # Where the first frame states no length, libsndfile guesses one.
    announced=claimed if stream.announced else None,
    slack=_MP3_SLACK,
    rates=frozenset(stream.rates),
    channels=frozenset(stream.channels),
    repair=(lambda: mp3.repair(content, stream)) if claimed < least else None,
  )


def _flac(content: bytes | mmap.mmap, rate: int, claimed: int) -> Integrity:
  del rate
  stream = flac.scan(content)
  counted = stream.num_samples
  return Integrity(
    least=counted,
    # libsndfile fills what is missing from here on with silence.
    sound=counted or ENDLESS,
    hole="frames are lost",
    announced=claimed if 0 < claimed < _MOST_FLAC_SAMPLES else None,
    rates=frozenset(stream.rates),
    channels=frozenset(stream.channels),
    repair=(lambda: flac.repair(content, stream)) if claimed < counted else None,
  )


def _ogg(content: bytes | mmap.mmap, rate: int, claimed: int) -> Integrity:
  stream = ogg.scan(content)
  sound = ENDLESS
  if stream.sound is not None:
    sound, delay = stream.sound, ogg.opus_delay(content)
    if delay is not None:
      sound = (sound - delay) * rate // _OPUS_RATE
  return Integrity(
    # Pages state their positions in the stream, so lost ones leave a gap.
    least=claimed,
    sound=max(sound, 0),
    hole="pages are lost or changed",
    chained=stream.chained,
    cut="" if stream.ended else "its last page is missing",
  )


def _other(content: bytes | mmap.mmap, rate: int, claimed: int) -> Integrity:
  del claimed
  stream = wav.scan(content)
  if stream is None:
    return Integrity()
  warning = ""
  if stream.shifted:
    warning = (
      "its samples are noise at full scale, but music if they start at another byte: a"
      " byte was lost or added; get another copy"
    )
  elif stream.beyond and stream.announced is not None:
    warning = (
      f"its header announces {stream.announced / rate:.1f} s, and {stream.beyond} bytes"
      " after them belong to nothing"
    )
  return Integrity(announced=stream.announced, warning=warning)
