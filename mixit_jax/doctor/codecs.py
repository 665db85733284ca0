"""Whether each audio format can be decoded: a tone is encoded in memory and read."""

import importlib.util
import io
from typing import Any

import numpy as np
import soundfile

from mixit_jax.audio.decoding import decode
from mixit_jax.errors import UserError, one_line

_RATE = 44100
_SECONDS = 0.5
_PITCHES = (440.0, 660.0)  # Hz, left and right
_LEVEL_DB = 1.0  # a lossy encoder changes the level by less
_PADDING = 0.1  # seconds that lossy formats add or lose

# Name of the format to format and encoding of soundfile.
_SOUNDFILE = {
  "wav": ("WAV", "FLOAT"),
  "flac": ("FLAC", "PCM_24"),
  "mp3": ("MP3", "MPEG_LAYER_III"),
  "ogg": ("OGG", "VORBIS"),
  "opus": ("OGG", "OPUS"),
  "aiff": ("AIFF", "PCM_24"),
}
# Name of the format to container and codec of PyAV, which cannot write APE.
_PYAV = {
  "m4a": ("mp4", "aac"),
  "aac": ("adts", "aac"),
  "wma": ("asf", "wmav2"),
  "wv": ("wv", "wavpack"),
  "mka": ("matroska", "aac"),
}


def common_formats() -> str:
  """Decode what needs no extra; return the names of the formats.

  Raises:
    UserError: Some cannot be decoded; names them.
  """
  broken = {}
  for name, (file_format, subtype) in _SOUNDFILE.items():
    rate = 48000 if name == "opus" else _RATE
    try:
      _check(decode(_write(file_format, subtype, rate), name), rate)
    except Exception as error:  # an old or broken libsndfile raises many kinds
      broken[name] = one_line(error)
  if broken:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in broken.items())
    raise UserError(
      f"{reasons}; libsndfile is {soundfile.__libsndfile_version__}, at least 1.1 is "
      "needed: pip install --force-reinstall soundfile"
    )
  return f"{', '.join(_SOUNDFILE)} (libsndfile {soundfile.__libsndfile_version__})"


def further_formats() -> str:
  """Decode what needs the extra `formats`; return their names, or that it is absent.

  Raises:
    UserError: The extra is installed and formats cannot be decoded; names them.
  """
  if importlib.util.find_spec("av") is None:
    return f"absent; {', '.join(_PYAV)} need pip install 'mixit-jax[formats]'"
  import av

  broken, unwritten, fine = {}, [], []
  for name, (container, codec) in _PYAV.items():
    if codec not in av.codecs_available or container not in av.formats_available:
      unwritten.append(name)
      continue
    try:
      _check(decode(_write_with_av(container, codec), name), _RATE)
      fine.append(name)
    except Exception as error:  # FFmpeg has errors of its own for everything
      broken[name] = one_line(error)
  if broken:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in broken.items())
    raise UserError(f"{reasons}; pip install --force-reinstall av")
  untested = f", untested without an encoder {', '.join(unwritten)}" * bool(unwritten)
  return f"{', '.join(fine)}{untested} (PyAV {av.__version__})"


def _tone(rate: int) -> np.ndarray:
  """Make a tone of another pitch in each channel, float32 [2, L]."""
  time = np.arange(round(_SECONDS * rate)) / rate
  return 0.5 * np.sin(2 * np.pi * np.outer(_PITCHES, time)).astype(np.float32)


def _write(file_format: str, subtype: str, rate: int) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, _tone(rate).T, rate, subtype, format=file_format)
  return file.getvalue()


def _write_with_av(container: str, codec: str) -> bytes:
  import av

  file = io.BytesIO()
  with av.open(file, "w", format=container) as output:
    stream: Any = output.add_stream(codec, rate=_RATE, bit_rate=128_000)
    frame = av.AudioFrame.from_ndarray(_tone(_RATE), "fltp", "stereo")
    frame.sample_rate = _RATE
    stream.open()  # the length of its frames is known now
    to_codec = av.AudioResampler(
      stream.format, stream.layout, _RATE, stream.codec_context.frame_size
    )
    for part in [*to_codec.resample(frame), *to_codec.resample(None), None]:
      output.mux(stream.encode(part))
  return file.getvalue()


def _check(decoded: tuple[np.ndarray, int], expected_rate: int) -> None:
  """Make sure that what was decoded is the tone, but for what encoders change."""
  audio, rate = decoded
  length = audio.shape[1] / expected_rate
  if rate != expected_rate or len(audio) != len(_PITCHES):
    raise UserError(f"decoded to {len(audio)} channels at {rate} Hz")
  if abs(length - _SECONDS) > _PADDING:
    raise UserError(f"decoded to {length:.3f} s, expected {_SECONDS:g} s")
  power = np.sum(audio**2, axis=1) / (_SECONDS * rate)
  level = 10 * np.log10(power / np.mean(_tone(rate) ** 2) + 1e-12)
  pitch = np.argmax(np.abs(np.fft.rfft(audio)), axis=1) / length
  if np.abs(level).max() > _LEVEL_DB or np.abs(pitch - _PITCHES).max() > 1 / _SECONDS:
    raise UserError("what was decoded is not the tone that was encoded")
