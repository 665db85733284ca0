"""Decode any common audio file, or say in one line why it cannot be decoded.

soundfile decodes WAV, FLAC, MP3, Ogg and others. PyAV decodes what soundfile cannot
open (M4A, AAC, WMA), if the optional extra `formats` is installed. Headers are not
trusted: the length is what the decoder delivers, and the scanners check that nothing
is missing. docs/formats.md explains why soundfile comes first.
"""

import contextlib
import io
import os
from pathlib import Path

import numpy as np
import soundfile

from mixit_jax.audio.scanners import flac, mp3, ogg
from mixit_jax.errors import UserError

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
      are not finite, or changes its sample rate or its channels midway.
  """
  if isinstance(source, bytes):
    name = name or "audio in memory"
  else:
    name = name or str(source)
    if not source.is_file():
      raise AudioError(name, "expected an audio file, found none")
  try:
    stream = _open(source)
    if stream.format == "FLAC":
      source = _content(source, name)
      if source[-_ID3V1_BYTES:].startswith(b"TAG"):  # libFLAC mistakes it for a frame
        source = source[:-_ID3V1_BYTES]
        stream = _open(source)
  except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
    audio, rate = _decode_with_av(_content(source, name), name, error)
  else:
    with stream:
      audio, rate = _read(stream, name), stream.samplerate
    if stream.format in _FRAMED:
      audio = _complete(_content(source, name), audio, stream, name)
    elif stream.format == "OGG":
      if ogg.is_chained(_content(source, name)):
        raise AudioError(name, "holds several streams in a row; split it first")
      # Pages state their positions in the stream, so lost ones leave a gap.
      _check_length(audio.shape[1], stream.frames, name)
  if audio.shape[1] == 0:
    raise AudioError(name, "holds no audio")
  if rate not in _RATES:
    raise AudioError(name, f"a sample rate of {rate} Hz is not plausible")
  if not np.isfinite(audio).all():
    raise AudioError(name, "holds samples that are not finite")
  return audio, rate


def _open(source: Path | bytes) -> _Stream:
  """Open a file by its path, where there is one: the suffix helps libsndfile."""
  if isinstance(source, bytes):
    return _Stream(io.BytesIO(source))
  # Names that are not UTF-8 must be passed as bytes, which soundfile does not do.
  return _Stream(os.fsencode(source) if os.name == "posix" else source)


def _read(stream: soundfile.SoundFile, name: str) -> np.ndarray:
  """Read all of an open file in blocks, whatever length its header claims."""
  frames = max(1, _BLOCK // stream.channels)
  blocks = []
  try:
    while len(block := stream.read(frames, dtype="float32", always_2d=True)):
      blocks.append(block.T)
  except (soundfile.SoundFileError, OSError, ValueError) as error:
    seconds = sum(block.shape[1] for block in blocks) / stream.samplerate
    raise AudioError(
      name, f"damaged after {seconds:.1f} s: {reason_of(error)}; {_REMEDY}"
    ) from error
  return _join(blocks, stream.channels)


def _complete(
  content: bytes, audio: np.ndarray, opened: soundfile.SoundFile, name: str
) -> np.ndarray:
  """Return the whole audio [C, L] that the frames of a file hold.

  libsndfile stops, without an error, at the length that the file claims, and in MP3
  files after some garbage and at a change of the rate or the channels. In FLAC files
  it overlooks a change of the rate, and replaces lost frames with silence.

  Raises:
    AudioError: some of it cannot be decoded.
  """
  codec, delays = _FRAMED[opened.format]
  stream = codec.scan(content)
  _check_formats(
    {opened.samplerate} | stream.rates, {opened.channels} | stream.channels, name
  )
  expected = stream.num_samples - delays
  if audio.shape[1] < expected and audio.shape[1] == opened.frames:
    # If the repaired file cannot be opened, the length check below fails.
    repaired = io.BytesIO(codec.repair(content, stream))
    with contextlib.suppress(soundfile.SoundFileError), _Stream(repaired) as reopened:
      audio = _read(reopened, name)
  _check_length(audio.shape[1], expected, name)
  if opened.format == "FLAC" and 0 < expected < audio.shape[1]:
    seconds = expected / opened.samplerate
    raise AudioError(name, f"damaged: frames are lost at {seconds:.1f} s; {_REMEDY}")
  return audio


def _decode_with_av(
  content: bytes, name: str, reason: Exception
) -> tuple[np.ndarray, int]:
  """Decode with PyAV what soundfile cannot open, for the given reason."""
  # libsndfile reports a broken MP3 file as one that does not exist.
  why = reason_of(reason)
  why = "not an audio format that soundfile knows" if "not exist" in why else why
  try:
    import av
  except ImportError:
    raise AudioError(
      name,
      f"cannot be decoded: {why}"
      " (M4A, AAC, WMA and more need: pip install 'mixit-jax[formats]')",
    ) from reason
  try:
    with av.open(io.BytesIO(content), "r", options=_NO_OTHER_FILES) as container:
      # Interleaved: PyAV 18 crashes on planar arrays of eight channels or more.
      to_float = av.AudioResampler(format="flt")
      rates, channels, blocks = set[int](), set[int](), []
      for frame in container.decode(audio=0):
        rates.add(frame.sample_rate)
        channels.add(frame.layout.nb_channels)
        _check_formats(rates, channels, name)
        for converted in to_float.resample(frame):
          blocks.append(converted.to_ndarray().reshape(-1, *channels).T)
  except (av.FFmpegError, OSError, ValueError, IndexError) as error:
    raise AudioError(
      name, f"cannot be decoded: soundfile: {why}; PyAV: {reason_of(error)}"
    ) from error
  if not blocks:
    raise AudioError(name, "holds no audio")
  return _join(blocks, channels.pop()), rates.pop()


def _content(source: Path | bytes, name: str) -> bytes:
  """Read all bytes of a file."""
  try:
    return source if isinstance(source, bytes) else source.read_bytes()
  except OSError as error:
    raise AudioError(name, f"cannot be read: {reason_of(error)}") from error


def _join(blocks: list[np.ndarray], num_channels: int) -> np.ndarray:
  """Join blocks [C, l] to audio [C, L]."""
  audio = np.empty((num_channels, sum(b.shape[1] for b in blocks)), np.float32)
  return np.concatenate(blocks, axis=1, out=audio) if blocks else audio


def _check_length(found: int, expected: int, name: str) -> None:
  if found < expected:
    raise AudioError(
      name,
      f"damaged: only {found} of at least {expected} samples can be decoded; {_REMEDY}",
    )


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
