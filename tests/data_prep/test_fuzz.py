"""Damaged files of every format: refused, used up to the damage, or unchanged.

What no decoder can tell is allowed: most formats have no checksums. FFmpeg, at its
strictest, is the judge: where it finds no fault in a damaged file and decodes the same
audio as we do, a record that differs from the undamaged file is nobody's mistake.
"""

import io
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from music_files import write

from data_prep.cutting import Rules, cut_track
from data_prep.segments import Cut
from mixit_jax.audio.decoding import decode
from mixit_jax.audio.files import AudioError
from mixit_jax.audio.pcm import to_float32
from mixit_jax.data.records import decode_segment

av = pytest.importorskip("av")

RATE = 22_050
SECONDS = 6
RULES = Rules(Cut(RATE, 0.5, 0.5, "wav"), strict=False, damaged="use")
FORMATS = (".mp3", ".flac", ".ogg", ".wav", ".m4a")
SILENT = "wrong in silence"
# mpg123 hides faults within a frame, some of which FFmpeg would find, and libsndfile
# passes nothing on of what it prints: this share of files is known to slip through.
MOST_SILENT = {".mp3": 0.05}
_LONGEST = 30  # s for one file
_HEADER = 300  # bytes
_SHIFT = 12_000  # samples: as much as `spoil` may cut out of the start of an MP3 file


def music():
  """Notes [2, L] with a beat: no two stretches are alike."""
  rng = np.random.default_rng(0)
  time = np.arange(RATE * SECONDS) / RATE
  pitch = 220 * 2 ** (rng.integers(0, 24, 24) / 12)
  pitch = np.repeat(pitch, -(-len(time) // 24))[: len(time)]
  tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
  beat = rng.normal(0, 0.2, len(time)) * np.exp(-((8 * time) % 4))
  return np.stack([0.2 * tone + 0.5 * beat, 0.15 * tone - 0.5 * beat]).astype(
    np.float32
  )


def encode_m4a(path, audio):
  with av.open(str(path), "w") as file:
    stream = file.add_stream("aac", rate=RATE, layout="stereo")
    stream.open()
    frames = av.AudioResampler(
      stream.format, stream.layout, RATE, stream.codec_context.frame_size
    )
    whole = av.AudioFrame.from_ndarray(audio.T.reshape(1, -1), "flt", "stereo")
    whole.sample_rate, whole.pts = RATE, 0
    for frame in [*frames.resample(whole), *frames.resample(None), None]:
      file.mux(stream.encode(frame))


def spoil(content, rng):
  """Returns a damaged copy of a file."""
  size, kind = len(content), rng.integers(7)
  first = int(rng.integers(_HEADER if rng.random() < 0.3 else size))
  length = int(min(rng.integers(1, 3000), size - first))
  changed = bytearray(content)
  if kind == 0:
    for _ in range(rng.integers(1, 9)):
      changed[int(rng.integers(min(_HEADER, size)))] ^= 1 << int(rng.integers(8))
  elif kind == 1:
    for _ in range(rng.integers(1, 20)):
      changed[int(rng.integers(size))] ^= 1 << int(rng.integers(8))
  elif kind == 2:
    del changed[first:]
  elif kind == 3:
    del changed[first : first + length]
  elif kind == 4:
    changed[first:first] = rng.bytes(length)
  elif kind == 5:
    changed[first : first + length] = bytes(length)
  else:
    changed[first : first + length] = rng.bytes(length)
  return bytes(changed)


@contextmanager
def limited():
  """Ends a block that takes too long."""

  def end(*_):
    raise TimeoutError

  before = signal.signal(signal.SIGALRM, end)
  signal.alarm(_LONGEST)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def strictly(content):
  """What FFmpeg decodes of a file up to the first fault that it finds."""
  blocks = [np.zeros((2, 0), np.float32)]
  try:
    with av.open(io.BytesIO(content)) as file:
      stream = file.streams.audio[0]
      stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
      to_float = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
      for frame in file.decode(stream):
        blocks += [converted.to_ndarray() for converted in to_float.resample(frame)]
  except (av.FFmpegError, ValueError, IndexError):
    pass
  return np.concatenate(blocks, axis=1)


def alike(audio, other):
  return np.allclose(audio, other, atol=0.02)


def hears(decoded, segment, start):
  """Whether decoded audio holds a segment near its place; decoders trim differently.

  At the start of a file some frames may be missing, or of silence.
  """
  padded = np.pad(decoded, ((0, 0), (_SHIFT, 0)))  # silence may have been added
  around = padded[:, start : start + segment.shape[1] + 2 * _SHIFT]
  if around.shape[1] < segment.shape[1] or not segment.shape[1]:
    return False
  spectra = np.fft.rfft(around[0], 1 << 16) * np.conj(np.fft.rfft(segment[0], 1 << 16))
  shift = int(
    np.argmax(np.fft.irfft(spectra)[: around.shape[1] - segment.shape[1] + 1])
  )
  error = np.square(around[:, shift : shift + segment.shape[1]] - segment).mean()
  return error < (0.01 if start else 0.3) * np.square(segment).mean()


def nobody_can_tell(content, whole, segment, start):
  """Whether FFmpeg takes damage for music as well: it finds no fault, and no music."""
  decoded = strictly(content)
  theirs = decoded[:, start : start + segment.shape[1]]
  if theirs.shape != segment.shape:
    return False
  return hears(decoded, segment, start) or not hears(whole, theirs, start)


def check(path, whole, name):
  """Prepares a damaged file; returns what became of it."""
  try:
    with limited():
      found = cut_track(path, name, RULES, path.parent)
      records = [decode_segment(record) for record in found.records]
  except AudioError as error:
    return "refused in several lines" if "\n" in str(error) else "refused"
  outcome = "whole" if found.damage is None else "used up to the damage"
  for record in records:
    start = round(record.start * RATE)
    segment = to_float32(record.audio)
    expected = whole[:, start : start + segment.shape[1]]
    if segment.shape == expected.shape and alike(segment, expected):
      continue
    if hears(whole, segment, start):  # a start that is trimmed otherwise
      continue
    if found.warning:
      return "warned"
    if found.damage and not start:  # what is lost in the first frames is counted
      continue
    if not nobody_can_tell(path.read_bytes(), whole, segment, start):
      return SILENT
    outcome = "changed, and nobody can tell"
  return outcome


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
  folder = tmp_path_factory.mktemp("originals")
  files = {}
  for suffix in FORMATS:
    path = folder / f"whole{suffix}"
    if suffix == ".m4a":
      encode_m4a(path, music())
    else:
      write(path, music(), RATE, "PCM_16" if suffix in (".wav", ".flac") else None)
    files[suffix] = path.read_bytes(), decode(path)[0]
  return files


def run(originals, folder, suffix, seeds):
  content, whole = originals[suffix]
  outcomes = {}
  for seed in seeds:
    path = folder / f"{seed}{suffix}"
    path.write_bytes(spoil(content, np.random.default_rng(seed)))
    outcome = check(path, whole, path.name)
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
    path.unlink()
  assert "refused in several lines" not in outcomes
  assert outcomes.get(SILENT, 0) <= MOST_SILENT.get(suffix, 0) * len(seeds), outcomes
  return outcomes


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_damaged_file_gives_a_wrong_record_in_silence(originals, tmp_path, suffix):
  outcomes = run(originals, tmp_path, suffix, range(80))
  assert outcomes["refused"] > 3
  assert outcomes["used up to the damage"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_thousands_of_damaged_files(originals, tmp_path, suffix):
  outcomes = run(originals, tmp_path, suffix, range(100, 1100))
  print(suffix, outcomes)
  assert sum(outcomes.values()) == 1000
