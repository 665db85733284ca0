import io
import re

import numpy as np
import pytest
import soundfile

from mixit_jax.audio.decoding import AudioError, decode
from mixit_jax.audio.scanners import flac


def crc(data, polynomial, bits):
  """Checksum by long division of bits, highest first."""
  remainder = int.from_bytes(data) << bits
  for shift in range(len(data) * 8 - 1, -1, -1):
    if remainder >> (shift + bits) & 1:
      remainder ^= polynomial << shift
  return remainder


def frame_starts(content):
  """Where the frames start.

  They must be of fixed size with numbers below 128: their headers are five bytes and
  a checksum.
  """
  return [
    match.start()
    for match in re.finditer(rb"\xff\xf8[\x10-\xff].[\x00-\x7f]", content, re.DOTALL)
    if crc(content[match.start() : match.start() + 5], 0x107, 8)
    == content[match.start() + 5]
  ]


def changed_rate(content, first_frame):
  """States another sample rate in all frames from one on, with valid checksums."""
  starts = frame_starts(content)
  changed = content[: starts[first_frame]]
  for start, end in zip(
    starts[first_frame:], [*starts[first_frame + 1 :], len(content)], strict=True
  ):
    header = bytearray(content[start : start + 5])
    header[2] = header[2] & 0xF0 | 10  # 48 kHz
    frame = (
      bytes(header) + bytes([crc(header, 0x107, 8)]) + content[start + 6 : end - 2]
    )
    changed += frame + crc(frame, 0x18005, 16).to_bytes(2)
  return changed


@pytest.mark.parametrize("length", [1, 300, 4096, 4097, 50_000])
@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_frames_hold_the_whole_length(encode, noise, length, num_channels):
  stream = flac.scan(encode(noise(length, num_channels), 44_100, ".flac"))
  assert stream == (length, {44_100}, {num_channels})


# Rates with a code of their own, in whole kHz, in Hz and in tens of Hz.
@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000, 11_000, 12_345, 384_000])
def test_frames_state_their_rate(encode, tone, rate):
  assert flac.scan(encode(tone(440, rate, 0.5), rate, ".flac")).rates == {rate}


# Of a few bytes each; the numbers beyond 127 take two bytes.
@pytest.mark.parametrize("length", [4096 * 3 + 1, 4096 * 200])
def test_silent_frames_count(encode, length):
  silence = np.zeros((1, length), np.float32)
  assert flac.scan(encode(silence, 44_100, ".flac")).num_samples == length


def test_headers_out_of_order_are_no_frames(encode, tone):
  content = encode(tone(440, 44_100), 44_100, ".flac")
  assert flac.scan(content[:4] + content) == flac.scan(content)
  # The same frames again start at 0, where the frame after the last is expected.
  assert flac.scan(content + content) == flac.scan(content)


@pytest.mark.parametrize(
  ("number", "offset"), [(0, -10), (2, -100), (3, -100), (2, 2000), (3, 2000)]
)
def test_audio_that_looks_like_a_header_changes_nothing(encode, noise, number, offset):
  """It may stand in the frame before the one whose number it has, or within that."""
  content = encode(noise(4096 * 4, 1), 44_100, ".flac")
  start = frame_starts(content)[number] + offset
  header = bytes([0xFF, 0xF8, 0x14, content[frame_starts(content)[0] + 3], number])
  header += bytes([crc(header, 0x107, 8)])  # 192 samples at 8 kHz
  spoiled = content[:start] + header + content[start:]
  assert flac.scan(spoiled) == flac.scan(content)


def test_what_is_no_flac_file_has_no_frames():
  assert flac.scan(b"") == (0, set(), set())
  noise = np.random.default_rng(0).bytes(1_000_000)
  assert flac.scan(noise) == (0, set(), set())


def test_flac_file_whose_rate_changes_is_refused(encode, noise):
  content = changed_rate(encode(noise(4096 * 4, 1), 44_100, ".flac"), first_frame=2)
  # Without this the frames need not be scanned: soundfile does not see the change.
  audio, rate = soundfile.read(io.BytesIO(content))
  assert (len(audio), rate) == (4096 * 4, 44_100)
  assert flac.scan(content) == (4096 * 4, {44_100, 48_000}, {1})
  with pytest.raises(AudioError, match=r"sample rate changes .*\[44100, 48000\]"):
    decode(content, "song")


@pytest.mark.realdata
def test_frames_of_real_files_hold_what_is_decoded(realdata):
  """Among them files with variable block sizes, of 1, 65,535 and odd sizes."""
  files = sorted(realdata.glob("fma_like/*.flac"))
  files += [
    file
    for file in sorted(realdata.glob("bad/*.flac"))
    if re.search("blocksize_1|65535|subset_(19|21|38|41|43|45|47|60)", file.name)
  ]
  assert len(files) > 8
  for file in files:
    audio, rate = decode(file)
    stream = flac.scan(file.read_bytes())
    assert stream == (audio.shape[1], {rate}, {len(audio)}), file.name
