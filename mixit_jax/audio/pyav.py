"""Decode with PyAV (FFmpeg) what soundfile does not know; needs the extra `formats`."""

import io
import itertools
import mmap
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from mixit_jax.audio.decoded import TAGS, Content, Decoding, check_formats
from mixit_jax.audio.faults import AudioError, damaged, reason_of
from mixit_jax.errors import missing_extra

_NO_OTHER_FILES = {"protocol_whitelist": ""}  # a playlist must not open its entries
# Containers that state how long their audio is; others let FFmpeg guess.
_STATING = ("mov", "matroska")
_SLACK = 0.1  # s; encoders pad the audio to whole frames
_TEXT_PROBE = 512  # bytes


def open_with_av(
  mapped: Callable[[], AbstractContextManager[Content]], name: str, reason: Exception
) -> Decoding:
  """Open what soundfile cannot open.

  Args:
    mapped: gives the content of the file, as a context.
    name: how errors name the file.
    reason: why soundfile cannot open it.

  Raises:
    AudioError: PyAV is missing or cannot open it either.
  """
  # libsndfile reports a broken MP3 file as one that does not exist.
  why = reason_of(reason)
  why = "not an audio format that soundfile knows" if "not exist" in why else why
  if text := _text_of(mapped):
    raise AudioError(name, f"cannot be decoded: {why}; it is a text: {text!r}")
  try:
    import av
  except ImportError as error:
    remedy = missing_extra(error, "av", "formats", "M4A, AAC, WMA and more")
    raise AudioError(name, f"cannot be decoded: {why} ({remedy})") from reason
  tags: dict[str, str] = {}
  announced: list[int] = []

  def blocks() -> Generator[tuple[int, np.ndarray], None, None]:
    """Yield the rate and the audio [C, l] of each frame."""
    found, rates, channels = 0, set[int](), set[int]()
    try:
      with (
        # Without a name, whose suffix would decide over the content.
        mapped() as content,
        av.open(_as_file(content), "r", options=_NO_OTHER_FILES) as container,
      ):
        tags.update(_soundfile_tags(container.metadata))
        announced.extend(_announced(container))
        # Interleaved: PyAV 18 crashes on planar arrays of eight channels or more.
        to_float = av.AudioResampler(format="flt")
        for frame in container.decode(audio=0):
          rates.add(frame.sample_rate)
          channels.add(frame.layout.nb_channels)
          check_formats(rates, channels, name)
          for converted in to_float.resample(frame):
            block = converted.to_ndarray().reshape(-1, *channels).T
            found += block.shape[1]
            yield frame.sample_rate, block
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
      if found:
        raise damaged(name, reason_of(error), found / min(rates)) from error
      raise AudioError(
        name, f"cannot be decoded: soundfile: {why}; PyAV: {reason_of(error)}"
      ) from error

  frames = blocks()
  first = next(frames, None)
  if first is None:
    raise AudioError(name, "holds no audio")
  rate, block = first
  return Decoding(
    rate,
    len(block),
    tags,
    itertools.chain([block], (block for _, block in frames)),
    announced=round(announced[0] * rate / 1e6) if announced else None,
    slack=round(_SLACK * rate),
  )


def _announced(container: Any) -> list[int]:
  """Return the length of the audio in microseconds, where the container states it."""
  stream = container.streams.audio[0]
  if not container.format.name.startswith(_STATING):
    return []
  if stream.duration is not None:
    return [round(stream.duration * stream.time_base * 1_000_000)]
  # Of other streams as well, so it holds for files of audio alone.
  alone = len(container.streams) == 1 and container.duration is not None
  return [container.duration] if alone else []


def _text_of(mapped: Callable[[], AbstractContextManager[Content]]) -> str:
  """Return the first line of a file that is a text, such as a page about an error."""
  try:
    with mapped() as content:
      start = content[:_TEXT_PROBE]
    text = start.decode("utf-8", "ignore" if len(start) == _TEXT_PROBE else "strict")
  except (OSError, ValueError):  # ValueError: of an empty file, or no text
    return ""
  readable = all(letter.isprintable() or letter in "\t\r\n\ufeff" for letter in text)
  return " ".join(text.split())[:40] if readable else ""


def _soundfile_tags(metadata: Mapping[str, str]) -> dict[str, str]:
  """Return the tags that soundfile can write, under its names."""
  lower = {key.lower(): value for key, value in metadata.items()}
  if "track" in lower:
    lower.setdefault("tracknumber", lower["track"])
  return {name: lower[name] for name in TAGS if lower.get(name)}


def _as_file(content: Content) -> io.BytesIO | mmap.mmap:
  return io.BytesIO(content) if isinstance(content, bytes) else content
