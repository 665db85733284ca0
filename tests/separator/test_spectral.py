import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from mixit_jax.separator import spectral
from mixit_jax.separator.spectral import level

N_FFT, HOP = 64, 16
stft = jax.jit(spectral.stft, static_argnums=(1, 2, 3))
istft = jax.jit(spectral.istft, static_argnums=(1, 2, 3))


def noise(*shape):
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(1, 2))
def round_trip(signal, n_fft, hop):
  return istft(stft(signal, n_fft, hop), n_fft, hop, signal.shape[-1])


def relative_error(found, expected):
  return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(
  ("n_fft", "hop"), [(64, 16), (64, 64), (64, 48), (100, 30), (6, 5)]
)
@pytest.mark.parametrize("drop_last", [True, False])
def test_stft_equals_scipy(n_fft, hop, drop_last):
  signal = noise(2, 3, 333)
  _, _, expected = scipy.signal.stft(
    signal.astype(np.float64),
    window="hann",
    nperseg=n_fft,
    noverlap=n_fft - hop,
    boundary="even",
    padded=False,
  )
  # SciPy divides by the sum of the window, and keeps the last frame.
  expected = np.swapaxes(expected, -1, -2) * n_fft / 2
  expected = expected[..., :-1, :] if drop_last else expected
  spectrogram = stft(signal, n_fft, hop, drop_last)
  assert spectrogram.shape == expected.shape
  assert spectrogram.dtype == jnp.complex64
  assert relative_error(spectrogram, expected) < 1e-6


def test_level_and_spectrogram_equal_the_reference(fixtures):
  with np.load(fixtures / "separator.npz") as reference:
    mixture, scale = reference["mixture"], reference["scale"]
    normalized = reference["spectrogram_real"] + 1j * reference["spectrogram_imag"]
  spectrogram = stft(mixture, 2048, 512, False)
  assert relative_error(level(spectrogram), scale) < 1e-6
  # The reference has the axes [1, F, C, T].
  found = spectrogram[:, :, :-1] / scale[:, :, None, None]
  assert relative_error(found, normalized.transpose(0, 2, 3, 1)) < 1e-5


def test_masked_spectrogram_goes_back_as_in_the_reference(fixtures):
  with np.load(fixtures / "separator.npz") as reference:
    masks = reference["mask_real"] + 1j * reference["mask_imag"]
    normalized = reference["spectrogram_real"] + 1j * reference["spectrogram_imag"]
    scale, expected = reference["scale"], reference["estimates"]
  spectrogram = masks * normalized.transpose(0, 2, 3, 1)[:, None]
  estimates = istft(spectrogram, 2048, 512, expected.shape[-1])
  assert estimates.dtype == jnp.float32
  assert relative_error(estimates * scale[:, None, :, None], expected) < 1e-5


@pytest.mark.parametrize("length", [33, 48, 65, 1000, 1023])
def test_round_trip_restores_signals_of_any_length(length):
  signal = noise(2, length)
  restored = round_trip(signal, N_FFT, HOP)
  assert restored.shape == signal.shape
  # The last samples stand in the slope of one window: rounding errors grow there.
  np.testing.assert_allclose(restored, signal, atol=1e-6 if length % HOP == 0 else 2e-4)


@pytest.mark.parametrize("length", [1025, 3000])
def test_round_trip_restores_signals_with_the_windows_of_the_paper(length):
  signal = noise(2, length)
  np.testing.assert_allclose(round_trip(signal, 2048, 512), signal, atol=1e-4)


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 24), (100, 30)])
def test_hop_need_not_divide_the_window(n_fft, hop):
  signal = noise(hop * 12)
  inner = slice(0, hop * 11)  # the dropped frame leaves the end to a window's slope
  np.testing.assert_allclose(
    round_trip(signal, n_fft, hop)[inner], signal[inner], atol=1e-5
  )


def test_signal_is_zero_where_windows_vanish_or_do_not_reach():
  # With hop = n_fft the windows do not overlap and are zero where they start; the
  # last one ends half a window early.
  signal = noise(N_FFT * 3)
  restored = np.asarray(round_trip(signal, N_FFT, N_FFT))
  assert np.isfinite(restored).all()
  assert (restored[N_FFT // 2 :: N_FFT] == 0).all()
  assert (restored[N_FFT * 5 // 2 :] == 0).all()
  assert np.abs(restored[: N_FFT // 2 - 1]).min() > 0


def test_gradients_are_finite_and_exact():
  def energy(signal):
    return jnp.sum(jnp.square(round_trip(signal, N_FFT, HOP)))

  signal = noise(2, 160)
  np.testing.assert_allclose(jax.jit(jax.grad(energy))(signal), 2 * signal, atol=1e-4)


@pytest.mark.parametrize("signal", [noise(2, 100), np.zeros((2, 100), np.float32)])
def test_gradient_of_the_level_is_finite(signal):
  gradient = jax.grad(lambda x: jnp.sum(level(stft(x, N_FFT, HOP))))
  assert np.isfinite(jax.jit(gradient)(signal)).all()


def test_level_is_the_root_mean_square_and_never_zero():
  spectrogram = jnp.array([[[3 + 4j, 0], [0, 0]], [[0, 0], [0, 0]]], jnp.complex64)
  np.testing.assert_allclose(level(spectrogram), [2.5, 1e-15**0.5], rtol=1e-6)


def test_transforms_neither_gather_nor_scatter():
  text = round_trip.lower(noise(2, 1000), N_FFT, HOP).as_text()
  assert "fft" in text
  assert "gather" not in text
  assert "scatter" not in text


def test_low_precision_signals_are_transformed_in_float32():
  signal = jnp.asarray(noise(200), jnp.bfloat16)
  expected = stft(signal.astype(jnp.float32), N_FFT, HOP)
  np.testing.assert_array_equal(stft(signal, N_FFT, HOP), expected)


def test_short_signals_are_refused_with_the_numbers():
  with pytest.raises(ValueError, match=r"32 samples .* n_fft=64, hop=16.* 33 samples"):
    stft(noise(2, 32), N_FFT, HOP)
  with pytest.raises(ValueError, match=r"63 samples .* at least 64"):
    stft(noise(2, 63), N_FFT, 64)


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 0), (64, 65), (63, 16)])
def test_impossible_sizes_are_refused(n_fft, hop):
  with pytest.raises(ValueError, match=f"n_fft={n_fft}, hop={hop}"):
    stft(noise(200), n_fft, hop)


def test_spectrogram_must_fit_the_window():
  with pytest.raises(ValueError, match="33 bins does not fit n_fft=128"):
    istft(jnp.zeros((10, 33), jnp.complex64), 128, 32, 100)
