"""A recording on disk: known to be sound, and read in blocks as often as needed."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mixit_jax.audio.decoding import open_audio


@dataclasses.dataclass(frozen=True)
class Recording:
  """An audio file that can be decoded to its end.

  Attributes:
    path: of the file.
    name: how errors name it.
    sample_rate: in Hz.
    num_channels: channels C.
    length: samples L of each channel, as decoded, not as some header says.
    tags: title, artist and the like.
  """

  path: Path
  name: str
  sample_rate: int
  num_channels: int
  length: int
  tags: Mapping[str, str]

  def blocks(self) -> Iterator[np.ndarray]:
    """Decode the file; yield its audio [C, l] in order, float32.

    Raises:
      AudioError: the file has changed and cannot be decoded any longer.
    """
    return open_audio(self.path, self.name).blocks


def check_recording(path: Path, name: str = "") -> Recording:
  """Decode a file once, in bounded memory, to know that all of it can be decoded.

  Args:
    path: of the file.
    name: how errors name it; by default its path.

  Raises:
    AudioError: as in `decoding.decode`.
  """
  name = name or str(path)
  opened = open_audio(path, name)
  length = sum(block.shape[1] for block in opened.blocks)
  return Recording(
    path, name, opened.sample_rate, opened.num_channels, length, dict(opened.tags)
  )
