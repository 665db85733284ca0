"""An audio file that is open for decoding, whichever library decodes it."""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mixit_jax.audio.faults import AudioError

Content = bytes | mmap.mmap

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


class Decoding(NamedTuple):
  """A file that is open for decoding.

  Attributes:
    sample_rate: in Hz, as the file says.
    num_channels: channels of the file.
    tags: title, artist and the like, by the names that soundfile gives them.
    blocks: audio [C, l] in order, float32. Where the audio is damaged they end with
      a DamagedAudioError, after all that is sound before it.
    announced: samples that the file announces; None where it leaves that open.
    slack: by which less than that is still whole.
    cut: why the end is known to be missing, though not how much; else empty.
    warning: what seems wrong with the samples, though they can be decoded; else empty.
  """

  sample_rate: int
  num_channels: int
  tags: dict[str, str]
  blocks: Iterator[np.ndarray]
  announced: int | None = None
  slack: int = 0
  cut: str = ""
  warning: str = ""


def check_formats(rates: set[int], channels: set[int], name: str) -> None:
  """Raise an AudioError where a file has several sample rates or channel counts."""
  what = ""
  if len(rates) > 1:
    what = f"its sample rate changes midway: {sorted(rates)} Hz"
  elif len(channels) > 1:
    what = f"its number of channels changes midway: {sorted(channels)}"
  if what:
    raise AudioError(name, f"{what}; convert it to a WAV file first")
