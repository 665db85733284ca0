"""How the frequency bins are cut into bands."""

from collections.abc import Iterable
from itertools import groupby

from mixit_jax.errors import ConfigError

# Widths in bins for 44.1 kHz and n_fft 2048: fine below 1 kHz, coarse above.
PAPER_BANDS: tuple[int, ...] = (
  (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + ((48,) * 8 + (128, 129))
)
_PAPER_BIN_HZ = 44100 / 2048


def band_runs(widths: Iterable[int]) -> tuple[tuple[int, int], ...]:
  """Group neighboring bands of equal width, to be computed together.

  Args:
    widths: width of every band in bins, from low to high.

  Returns:
    runs (number of bands, width of each), from low to high.
  """
  return tuple((len(list(run)), width) for width, run in groupby(widths))


def check_bands(widths: Iterable[int], n_fft: int) -> None:
  """Check that the bands cover the bins of a one-sided spectrum exactly.

  Args:
    widths: width of every band in bins.
    n_fft: length of the Fourier transform in samples.

  Raises:
    ConfigError: a width is not a positive integer, or the sum is wrong.
  """
  widths = tuple(widths)
  for index, width in enumerate(widths):
    if not isinstance(width, int) or width < 1:
      raise ConfigError(
        f"model.bands: band {index} has width {width!r}; expected a whole number"
      )
  bins = n_fft // 2 + 1
  if sum(widths) != bins:
    raise ConfigError(
      f"model.bands: the widths sum to {sum(widths)}, but n_fft={n_fft} has {bins}"
      " bins; scaled_bands gives bands for another n_fft or sample rate"
    )


def scaled_bands(n_fft: int, sample_rate: int) -> tuple[int, ...]:
  """Scale the paper's layout, in hertz, to another transform or sample rate.

  Every band keeps about its width in hertz, and at least one bin. Bands above the
  highest frequency are left out; bins above the last edge of the paper's layout become
  one more band.

  Args:
    n_fft: length of the Fourier transform in samples.
    sample_rate: in hertz.

  Returns:
    widths in bins that sum to n_fft // 2 + 1; for 2048 and 44100 the paper's.
  """
  bins = n_fft // 2 + 1
  scale = _PAPER_BIN_HZ * n_fft / sample_rate
  widths: list[int] = []
  for count, width in band_runs(PAPER_BANDS):
    scaled = max(1, round(width * scale))
    fitting = min(count, (bins - sum(widths)) // scaled)
    widths += [scaled] * fitting
    if fitting < count:
      break
  rest = bins - sum(widths)
  return (*widths, rest) if rest else tuple(widths)
