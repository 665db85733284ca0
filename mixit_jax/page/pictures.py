"""Pictures of a track: its waveform and its spectrogram, from audio in blocks.

Memory does not grow with the length of the song.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

_COLUMNS = 1600  # of both pictures
_BANDS = 160  # rows of a spectrogram, equally far apart on a logarithmic axis
_LOWEST_HZ = 40.0
_RANGE_DB = 72.0  # shown below the loudest place of all tracks
_SHADES = 64  # of a spectrogram: finer ones are noise that cannot be compressed
_WINDOW_SECONDS = 0.09
_SHORTEST_HOP = 16

# Ten colors of viridis (Smith and van der Walt 2015), which people with any color
# vision see in the same order, also in gray.
_VIRIDIS = (
  "440154",
  "482878",
  "3e4989",
  "31688e",
  "26828e",
  "1f9e89",
  "35b779",
  "6ece58",
  "b5de2b",
  "fde725",
)


class Pictures:
  """What is drawn of a track, while its audio comes by.

  Attributes:
    energy: sum of squares so far, over samples and channels.
  """

  def __init__(self, sample_rate: int, num_channels: int, length: int):
    """Expect audio of a rate in Hz, with C channels and L samples."""
    self.energy = 0.0
    self._length = length
    self._position = 0
    columns = min(_COLUMNS, length)
    self._low, self._high = np.zeros((2, columns), np.float32)
    self._squares = np.zeros(columns)
    size = 1 << round(np.log2(_WINDOW_SECONDS * sample_rate))
    self._window = np.hanning(size + 1)[:-1].astype(np.float32)
    self._hop = max(_SHORTEST_HOP, min(size // 4, length // _COLUMNS))
    self._frames = -(-length // self._hop)
    self._bands = _band_weights(sample_rate, size)
    self._power = np.zeros((min(_COLUMNS, self._frames), len(self._bands)))
    self._counts = np.zeros(len(self._power))
    self._frame = 0
    # The first frame is centered at the first sample.
    self._held = np.zeros((num_channels, size // 2), np.float32)

  def add(self, block: np.ndarray) -> None:
    """Take audio [C, l]."""
    self.energy += float(np.sum(np.square(block, dtype=np.float64)))
    self._add_waveform(block)
    self._add_spectrogram(block)

  def finish(self) -> None:
    """Take the end of the audio."""
    size = len(self._window)
    self._add_spectrogram(np.zeros((len(self._held), size), np.float32))

  def waveform(self) -> np.ndarray:
    """Return the extremes and the root mean square [3, columns] of the samples."""
    counts = np.bincount(self._columns(np.arange(self._length)))
    # As many samples of each channel.
    channels = len(self._held)
    level = np.sqrt(self._squares / np.maximum(counts * channels, 1))
    return np.stack([self._low, self._high, level]).astype(np.float32)

  def spectrogram(self) -> np.ndarray:
    """Return the mean power of each octave [bands, columns], low bands first."""
    return (self._power / np.maximum(self._counts, 1)[:, None]).T

  def _columns(self, samples: np.ndarray) -> np.ndarray:
    return samples * len(self._low) // self._length

  def _add_waveform(self, block: np.ndarray) -> None:
    places = self._columns(self._position + np.arange(block.shape[1]))
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    columns = places[starts]
    low, high = block.min(axis=0), block.max(axis=0)
    # A column may have begun in the block before.
    self._low[columns] = np.minimum(
      self._low[columns], np.minimum.reduceat(low, starts)
    )
    self._high[columns] = np.maximum(
      self._high[columns], np.maximum.reduceat(high, starts)
    )
    squares = np.square(block, dtype=np.float64).sum(axis=0)
    self._squares[columns] += np.add.reduceat(squares, starts)
    self._position += block.shape[1]

  def _add_spectrogram(self, block: np.ndarray) -> None:
    audio = np.concatenate([self._held, block], axis=1)
    size, hop = len(self._window), self._hop
    count = min((audio.shape[1] - size) // hop + 1, self._frames - self._frame)
    for first in range(0, count, 256):  # bounded memory also for large blocks
      last = min(first + 256, count)
      part = audio[:, first * hop : (last - 1) * hop + size]
      frames = np.lib.stride_tricks.sliding_window_view(part, size, axis=1)[:, ::hop]
      spectrum = np.fft.rfft(frames * self._window)
      power = np.sum(spectrum.real**2 + spectrum.imag**2, axis=0)
      columns = np.arange(self._frame + first, self._frame + last)
      columns = columns * len(self._power) // self._frames
      np.add.at(self._power, columns, power @ self._bands.T)
      np.add.at(self._counts, columns, 1)
    self._frame += max(count, 0)
    self._held = audio[:, max(count, 0) * hop :]


def spectrogram_image(power: np.ndarray, loudest: float) -> Image.Image:
  """Draw a spectrogram in viridis, high frequencies on top.

  Args:
    power: [bands, columns], low bands first.
    loudest: power that gets the lightest color, that of all tracks of a song.
  """
  decibels = 10 * np.log10(np.maximum(power, 1e-20) / max(loudest, 1e-20))
  shown = np.clip(decibels / _RANGE_DB + 1, 0, 1)
  image = Image.fromarray(np.round(shown[::-1] * (_SHADES - 1)).astype(np.uint8))
  image.putpalette(_palette(_VIRIDIS).tobytes())
  return image


def frequency_marks(sample_rate: int) -> list[tuple[str, float]]:
  """Return frequencies to label, and their height between 0 (lowest) and 1."""
  span = np.log(sample_rate / 2 / _LOWEST_HZ)
  marks = ((100, "100"), (1000, "1k"), (10_000, "10k"))
  return [
    (text, float(np.log(hz / _LOWEST_HZ) / span))
    for hz, text in marks
    if hz < 0.45 * sample_rate
  ]


def _band_weights(sample_rate: int, size: int) -> np.ndarray:
  """Return the weights [bands, bins] that turn power into power per octave.

  Triangles on a logarithmic axis, never narrower than a bin. Power per octave is power
  times frequency: music, whose power falls with frequency, fills the picture.
  """
  bins = np.fft.rfftfreq(size, 1 / sample_rate)
  centers = np.geomspace(_LOWEST_HZ, sample_rate / 2, _BANDS)
  widths = np.maximum(np.gradient(centers), bins[1])
  weights = np.maximum(0, 1 - np.abs(bins - centers[:, None]) / widths[:, None])
  weights *= (centers / weights.sum(axis=1))[:, None]
  return weights.astype(np.float32)


def _palette(colors: Sequence[str]) -> np.ndarray:
  """Return colors [shades, 3] between some given in hexadecimal."""
  given = np.array([list(bytes.fromhex(color)) for color in colors])
  places = np.linspace(0, len(colors) - 1, _SHADES)
  mixed = [np.interp(places, range(len(colors)), channel) for channel in given.T]
  return np.round(np.stack(mixed, axis=1)).astype(np.uint8)
