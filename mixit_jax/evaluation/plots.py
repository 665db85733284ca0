"""Pictures of audio."""

import numpy as np

# Spectrograms show this range below their maximum.
_RANGE_DB = 80.0
_BANDS = 128


def mel_spectrogram(
  audio: np.ndarray, sample_rate: int, n_fft: int, hop: int
) -> np.ndarray:
  """Draw the log power of audio over mel bands, which follow the ear.

  Args:
    audio: waveform [C, L].
    sample_rate: in Hz.
    n_fft: samples of a window.
    hop: samples between windows.

  Returns:
    image [bands, frames], float32 in [0, 1], high frequencies on top; 0 is 80 dB below
    the maximum.
  """
  import librosa  # takes seconds to import

  bands = min(_BANDS, n_fft // 8)
  power = librosa.feature.melspectrogram(
    y=audio.mean(axis=0), sr=sample_rate, n_fft=n_fft, hop_length=hop, n_mels=bands
  )
  decibels = 10 * np.log10(power + 1e-12)
  shown = np.clip((decibels - decibels.max()) / _RANGE_DB + 1, 0, 1)
  return shown[::-1].astype(np.float32)
