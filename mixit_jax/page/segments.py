"""The audio of a page: short segments of all tracks in scripts.

Browsers let a page that was opened from disk neither fetch files nor route the sound of
<audio> elements, and several such elements start up to tens of milliseconds apart,
which is heard as a comb filter. Scripts they do load. So each segment of ten seconds is
a script with all tracks, in Ogg Vorbis: the player decodes it and starts all tracks at
the same sample. Only what is about to be heard is loaded: a song of an hour costs no
more memory than a short one.
"""

import base64
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from mixit_jax.audio.stamps import without_stamps
from mixit_jax.audio.writing import FASTEST_VORBIS
from mixit_jax.errors import UserError, one_line

SEGMENT_SECONDS = 10
# Neighbors share this much around their seam, and fade into each other: a seam of
# lossy coding cannot click.
MARGIN_SECONDS = 0.05

_BLOCK = 1 << 16  # frames encoded at once, see `mixit_jax.audio.writing`
_LEVEL = 0.6  # of compression, at most about 128 kbit/s for stereo at 44.1 kHz


class Segments:
  """Writes audio that comes in blocks as segments."""

  def __init__(self, folder: Path, sample_rate: int, length: int):
    """Write L samples at a rate in Hz to `folder/0000.js` and so on."""
    self._folder = folder
    self._rate = sample_rate
    self._length = length
    self._segment = SEGMENT_SECONDS * sample_rate
    self._margin = round(MARGIN_SECONDS * sample_rate)
    self._number = 0
    self._held: np.ndarray | None = None  # from the start of the segment `_number`
    self._begin = 0  # sample of the song where `_held` begins
    folder.mkdir(parents=True)

  @property
  def count(self) -> int:
    """Number of segments."""
    return -(-self._length // self._segment)

  def add(self, block: np.ndarray) -> None:
    """Take audio of all tracks [K, C, l]."""
    held = block if self._held is None else np.concatenate([self._held, block], axis=2)
    while self._number < self.count:
      end = min((self._number + 1) * self._segment + self._margin, self._length)
      if self._begin + held.shape[2] < end:
        break
      self._write(held[..., : end - self._begin])
      self._number += 1
      begin = max(0, self._number * self._segment - self._margin)
      held = held[..., begin - self._begin :]
      self._begin = begin
    self._held = held

  def _write(self, audio: np.ndarray) -> None:
    # The encoder does not survive them.
    if not np.isfinite(audio).all():
      raise UserError("--page: the audio is not finite")
    # Encoding takes most of the time of a page.
    with ThreadPoolExecutor(os.cpu_count(), "encode") as threads:
      encoded = threads.map(lambda track: encode(track, self._rate), audio)
      tracks = [base64.b64encode(content).decode() for content in encoded]
    text = f"receiveSegment({self._number}, {json.dumps(tracks)});\n"
    (self._folder / f"{self._number:04}.js").write_text(text, "ascii")


def check_audio(sample_rate: int, num_channels: int) -> None:
  """Raise a UserError unless audio of this kind can be put on a page."""
  if sample_rate > FASTEST_VORBIS:
    raise UserError(
      f"--page: audio at {sample_rate} Hz cannot be put on a page, at most at"
      f" {FASTEST_VORBIS} Hz"
    )
  encode(np.zeros((num_channels, 1), np.float32), sample_rate)


def encode(audio: np.ndarray, sample_rate: int) -> bytes:
  """Encode audio [C, l] as Ogg Vorbis; equal audio gives equal bytes.

  Raises:
    UserError: Vorbis does not have the rate or the number of channels.
  """
  stream = io.BytesIO()
  try:
    with soundfile.SoundFile(
      stream,
      "w",
      sample_rate,
      len(audio),
      "VORBIS",
      format="OGG",
      compression_level=_LEVEL,
    ) as file:
      for start in range(0, audio.shape[1], _BLOCK):
        file.write(audio[:, start : start + _BLOCK].T.astype(np.float32, order="C"))
  except (soundfile.SoundFileError, ValueError) as error:
    raise UserError(
      f"--page: audio of {len(audio)} channels at {sample_rate} Hz cannot be put on a"
      f" page ({one_line(error)})"
    ) from error
  return without_stamps(stream.getvalue())
