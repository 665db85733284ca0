"""Layouts of bands."""

import pytest

from mixit_jax.errors import UserError
from mixit_jax.separator.bands import PAPER_BANDS, band_runs, check_bands, scaled_bands


def test_the_paper_s_layout_has_62_bands_in_seven_runs():
  assert len(PAPER_BANDS) == 62
  assert sum(PAPER_BANDS) == 1025
  runs = ((24, 2), (12, 4), (8, 12), (8, 24), (8, 48), (1, 128), (1, 129))
  assert band_runs(PAPER_BANDS) == runs


def test_runs_are_of_neighbors_only():
  assert band_runs((3, 3, 1, 3)) == ((2, 3), (1, 1), (1, 3))


@pytest.mark.parametrize(
  ("widths", "message"),
  [
    ((2, 2), "sum to 4, but n_fft=8 has 5 bins"),
    ((2, 0, 3), "band 1 has width 0"),
    ((2.0, 3), "band 0 has width 2.0"),
    ((), "sum to 0"),
  ],
)
def test_wrong_layouts_are_explained(widths, message):
  with pytest.raises(UserError, match=rf"^model\.bands: .*{message}"):
    check_bands(widths, 8)


def test_scaled_layout_is_the_paper_s_at_its_rate():
  assert scaled_bands(2048, 44100) == PAPER_BANDS


@pytest.mark.parametrize("n_fft", [64, 512, 1024, 2048, 4096])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 48000, 96000])
def test_scaled_layouts_cover_every_bin_and_keep_their_width_in_hertz(
  n_fft, sample_rate
):
  widths = scaled_bands(n_fft, sample_rate)
  check_bands(widths, n_fft)
  assert len(band_runs(widths)) <= 8
  bin_hertz, paper_hertz = sample_rate / n_fft, 44100 / 2048
  for width, paper in zip(widths[:-1], PAPER_BANDS, strict=False):
    error = abs(width * bin_hertz - paper * paper_hertz)
    assert error <= bin_hertz / 2 or width == 1
