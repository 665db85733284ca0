"""Decode any common audio file, or say in one line why it cannot be decoded.

Files are decoded in blocks, so that memory does not grow with their length.
soundfile decodes WAV, FLAC, MP3, Ogg and others. PyAV decodes what soundfile cannot
open (M4A, AAC, WMA), if the optional extra `formats` is installed. Headers are not
trusted: the length is what the decoder delivers, and the scanners check that nothing
is missing. docs/formats.md explains why soundfile comes first.
"""

import contextlib
import io
import itertools
import mmap
import os
import stat
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from mixit_jax.audio.quiet import quiet
from mixit_jax.audio.scanners import flac, mp3, ogg
from mixit_jax.errors import UserError, missing_extra

# Names of tags that soundfile reads and writes.
TAGS = (
  "title",
  "artist",
  "album",
  "date",
  "tracknumber",
  "genre",
  "comment",
  "copyright",
  "license",
)
# A larger sample is no audio (whole numbers stored as floats reach 2e9), and its square
# would not be finite in a spectrogram.
LARGEST = 1e10

_ENDLESS = 2**63
_BLOCK = 1 << 18  # values decoded at once
_RATES = range(1_000, 1_000_000)  # Hz; others come from broken headers
# Formats whose frames can be counted, each with a bound on the samples that its decoder
# trims.
_FRAMED = {"FLAC": (flac, 0), "MP3": (mp3, 8 * 1152)}
_ID3V1_BYTES = 128  # size of a tag at the end of a file
_REMEDY = "get another copy"
_NO_OTHER_FILES = {"protocol_whitelist": ""}  # a playlist must not open its entries


class AudioError(UserError):
  """An audio file that cannot be read, used or written.

  Attributes:
    file: how the file is named.
    reason: what is wrong with it, in one line.
  """

  def __init__(self, file: Path | str, reason: str):
    super().__init__(str(file), reason)  # both, so that it can be pickled
    self.file = str(file)
    self.reason = reason

  def __str__(self) -> str:
    return f"{self.file}: {self.reason}"


class _Stream(soundfile.SoundFile):
  """A file that is read once, from its start to its end.

  soundfile seeks after every read. That fails in FLAC files whose headers are wrong
  or lack the number of samples, and is never needed here.
  """

  def seekable(self) -> bool:
    """Keep soundfile from seeking."""
    return False


class Decoding(NamedTuple):
  """A file that is open for decoding.

  Attributes:
    sample_rate: in Hz, as the file says.
    num_channels: channels of the file.
    tags: title, artist and the like, by the names that soundfile gives them.
    blocks: audio [C, l] in order, float32. It raises an AudioError where the audio is
      damaged, at the latest at its end.
  """

  sample_rate: int
  num_channels: int
  tags: dict[str, str]
  blocks: Iterator[np.ndarray]


def decode(source: Path | bytes, name: str = "") -> tuple[np.ndarray, int]:
  """Decode a file as it is, with its own rate and its own channels.

  Nothing is guessed or patched: a file with an error inside is refused. A truncated
  file yields what it holds, if its decoder accepts it (MP3, Ogg, WAV).

  Args:
    source: path of the file, or its content.
    name: how errors name the file; by default its path.

  Returns:
    audio of shape [C, L], float32 and finite, L > 0, and its sample rate in Hz.

  Raises:
    AudioError: the file is missing, not audio, damaged or empty, holds samples that
      are not finite or absurdly large, or changes its sample rate or its channels
      midway.
  """
  opened = open_audio(source, name)
  return _join(list(opened.blocks), opened.num_channels), opened.sample_rate


def open_audio(source: Path | bytes, name: str = "") -> Decoding:
  """Open a file to decode it block by block, in bounded memory.

  Args:
    source: path of the file, or its content.
    name: how errors name the file; by default its path.

  Raises:
    AudioError: as in `decode`; what only the audio itself shows, its blocks raise.
  """
  if isinstance(source, bytes):
    name = name or "audio in memory"
  else:
    name = name or str(source)
    _check_file(source, name)
  try:
    stream = _open(source)
    if stream.format == "FLAC" and (content := _without_id3v1(source)) is not None:
      source, stream = content, _open(content)
  except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
    opened = _open_with_av(source, name, error)
  else:
    stream, expected = _complete(source, stream, name)
    blocks = _blocks(stream, expected, name)
    tags = stream.copy_metadata()
    opened = Decoding(stream.samplerate, stream.channels, tags, blocks)
  if opened.sample_rate not in _RATES:
    raise AudioError(name, f"a sample rate of {opened.sample_rate} Hz is not plausible")
  return opened._replace(blocks=_plausible(opened.blocks, name))


def _check_file(path: Path, name: str) -> None:
  """Raise an AudioError unless a path leads to a file."""
  try:
    if stat.S_ISREG(path.stat().st_mode):
      return
  except FileNotFoundError:
    pass
  except (OSError, ValueError) as error:  # ValueError: a null byte in the name
    raise AudioError(name, f"cannot be read: {reason_of(error)}") from error
  raise AudioError(name, "expected an audio file, found none")


def _plausible(blocks: Iterator[np.ndarray], name: str) -> Iterator[np.ndarray]:
  """Yield blocks; raise an AudioError where there is none or samples are no audio."""
  empty = True
  for block in blocks:
    empty = False
    peak = np.abs(block).max()
    if not np.isfinite(peak):
      raise AudioError(name, "holds samples that are not finite")
    if peak > LARGEST:
      raise AudioError(name, f"holds samples of {peak:.0e}, but full scale is 1")
    yield block
  if empty:
    raise AudioError(name, "holds no audio")


def _open(source: Path | bytes) -> _Stream:
  """Open a file by its path, where there is one: the suffix helps libsndfile."""
  if isinstance(source, bytes):
    return _Stream(io.BytesIO(source))
  # Names that are not UTF-8 must be passed as bytes, which soundfile does not do.
  return _Stream(os.fsencode(source) if os.name == "posix" else source)


def _without_id3v1(source: Path | bytes) -> bytes | None:
  """Return a file without a tag at its end, which libFLAC mistakes for a frame."""
  with _mapped(source) as content:
    tagged = content[-_ID3V1_BYTES:].startswith(b"TAG")
    return content[:-_ID3V1_BYTES] if tagged else None


def _complete(
  source: Path | bytes, stream: _Stream, name: str
) -> tuple[_Stream, range]:
  """See from the frames or pages of a file what its audio should be.

  libsndfile stops, without an error, at the length that the file claims, and in MP3
  files after some garbage and at a change of the rate or the channels. In FLAC files
  it overlooks a change of the rate, and replaces lost frames with silence. Of joined
  Ogg streams it reads only the first.

  Returns:
    the stream, or one of the repaired file if the claimed length is too short; and
    the numbers of samples that its audio may have.

  Raises:
    AudioError: the file changes its format midway.
  """
  anything = range(_ENDLESS)
  if stream.format == "OGG":
    with _mapped(source) as content:
      if ogg.is_chained(content):
        raise AudioError(name, "holds several streams in a row; split it first")
    # Pages state their positions in the stream, so lost ones leave a gap.
    return stream, range(stream.frames, _ENDLESS)
  if stream.format not in _FRAMED:
    return stream, anything
  codec, delays = _FRAMED[stream.format]
  with _mapped(source) as content:
    scanned = codec.scan(content)
    expected = scanned.num_samples - delays
    _check_formats(
      {stream.samplerate} | scanned.rates, {stream.channels} | scanned.channels, name
    )
    exact = stream.format == "FLAC" and expected > 0
    if stream.frames < expected:
      # If the repaired file cannot be opened, the audio is found to be too short.
      with contextlib.suppress(soundfile.SoundFileError):
        stream = _open(codec.repair(content, scanned))
  return stream, range(expected, expected + 1 if exact else _ENDLESS)


def _blocks(
  stream: _Stream, expected: range, name: str
) -> Generator[np.ndarray, None, None]:
  """Read all of an open file in blocks, whatever length its header claims."""
  frames = max(1, _BLOCK // stream.channels)
  found = 0
  with stream:
    while True:
      try:
        with quiet():
          block = stream.read(frames, dtype="float32", always_2d=True)
      except (soundfile.SoundFileError, OSError, ValueError) as error:
        seconds = found / stream.samplerate
        raise AudioError(
          name, f"damaged after {seconds:.1f} s: {reason_of(error)}; {_REMEDY}"
        ) from error
      if not len(block):
        break
      found += len(block)
      yield block.T
    if found < expected.start:
      raise AudioError(
        name,
        f"damaged: only {found} of at least {expected.start} samples can be decoded;"
        f" {_REMEDY}",
      )
    if found >= expected.stop:
      seconds = expected.start / stream.samplerate
      raise AudioError(name, f"damaged: frames are lost at {seconds:.1f} s; {_REMEDY}")


def _open_with_av(source: Path | bytes, name: str, reason: Exception) -> Decoding:
  """Open with PyAV what soundfile cannot open, for the given reason."""
  # libsndfile reports a broken MP3 file as one that does not exist.
  why = reason_of(reason)
  why = "not an audio format that soundfile knows" if "not exist" in why else why
  try:
    import av
  except ImportError as error:
    remedy = missing_extra(error, "av", "formats", "M4A, AAC, WMA and more")
    raise AudioError(name, f"cannot be decoded: {why} ({remedy})") from reason
  tags: dict[str, str] = {}

  def blocks() -> Generator[tuple[int, np.ndarray], None, None]:
    """Yield the rate and the audio [C, l] of each frame."""
    try:
      with (
        # Without a name, whose suffix would decide over the content.
        _mapped(source) as content,
        av.open(_as_file(content), "r", options=_NO_OTHER_FILES) as container,
      ):
        tags.update(_soundfile_tags(container.metadata))
        # Interleaved: PyAV 18 crashes on planar arrays of eight channels or more.
        to_float = av.AudioResampler(format="flt")
        rates, channels = set[int](), set[int]()
        for frame in container.decode(audio=0):
          rates.add(frame.sample_rate)
          channels.add(frame.layout.nb_channels)
          _check_formats(rates, channels, name)
          for converted in to_float.resample(frame):
            yield frame.sample_rate, converted.to_ndarray().reshape(-1, *channels).T
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
      raise AudioError(
        name, f"cannot be decoded: soundfile: {why}; PyAV: {reason_of(error)}"
      ) from error

  frames = blocks()
  first = next(frames, None)
  if first is None:
    raise AudioError(name, "holds no audio")
  rate, block = first
  audio = itertools.chain([block], (block for _, block in frames))
  return Decoding(rate, len(block), tags, audio)


def _soundfile_tags(metadata: Mapping[str, str]) -> dict[str, str]:
  """Return the tags that soundfile can write, under its names."""
  lower = {key.lower(): value for key, value in metadata.items()}
  if "track" in lower:
    lower.setdefault("tracknumber", lower["track"])
  return {name: lower[name] for name in TAGS if lower.get(name)}


def _as_file(content: bytes | mmap.mmap) -> io.BytesIO | mmap.mmap:
  return io.BytesIO(content) if isinstance(content, bytes) else content


@contextlib.contextmanager
def _mapped(source: Path | bytes) -> Iterator[bytes | mmap.mmap]:
  """Yield all bytes of a file; those on disk are not copied to memory."""
  if isinstance(source, bytes):
    yield source
    return
  with (
    source.open("rb") as file,
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
  ):
    yield content


def _join(blocks: list[np.ndarray], num_channels: int) -> np.ndarray:
  """Join blocks [C, l] to audio [C, L]."""
  audio = np.empty((num_channels, sum(b.shape[1] for b in blocks)), np.float32)
  return np.concatenate(blocks, axis=1, out=audio) if blocks else audio


def _check_formats(rates: set[int], channels: set[int], name: str) -> None:
  what = ""
  if len(rates) > 1:
    what = f"its sample rate changes midway: {sorted(rates)} Hz"
  elif len(channels) > 1:
    what = f"its number of channels changes midway: {sorted(channels)}"
  if what:
    raise AudioError(name, f"{what}; convert it to a WAV file first")


def reason_of(error: Exception) -> str:
  """Return in one line what went wrong, without the name of the file."""
  text = getattr(error, "error_string", None) or getattr(error, "strerror", None)
  return " ".join(str(text or error).split())
