import numpy as np
import pytest

from mixit_jax.audio.decoding import decode
from mixit_jax.audio.scanners import mp3

LENGTH = 50_000


@pytest.mark.parametrize(
  "rate", [48_000, 44_100, 32_000, 24_000, 22_050, 11_025, 8_000]
)
@pytest.mark.parametrize("num_channels", [1, 2])
def test_frames_hold_the_whole_length(encode, noise, rate, num_channels):
  content = encode(noise(LENGTH, num_channels), rate, ".mp3")
  stream = mp3.scan(content)
  assert stream.rates == {rate}
  assert stream.channels == {num_channels}
  # The first frame is a tag, the last does not count, and encoders add delays.
  assert 0 < stream.start < 2000
  assert LENGTH - 1152 <= stream.num_samples <= LENGTH + 3 * 1152
  assert stream.num_samples == stream.num_frames * (1152 if rate >= 32_000 else 576)


@pytest.mark.parametrize("rate", [44_100, 22_050])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_repaired_file_holds_the_same_audio(encode, noise, rate, num_channels):
  content = encode(noise(LENGTH, num_channels), rate, ".mp3")
  repaired, same_rate = decode(mp3.repair(content, mp3.scan(content)))
  assert same_rate == rate
  expected, _ = decode(content)
  # Without its tag, the delay of the encoder is no longer trimmed: find it.
  correlation = np.correlate(repaired[0], expected[0, 10_000:40_000])
  delay = int(np.argmax(correlation)) - 10_000
  assert 0 <= delay < 2 * 1152
  aligned = repaired[:, delay : delay + 45_000]
  np.testing.assert_allclose(aligned, expected[:, :45_000], atol=1e-4)


def test_tags_and_garbage_before_the_frames_are_passed_over(encode, noise):
  content = encode(noise(LENGTH), 44_100, ".mp3")
  stream = mp3.scan(content)
  picture = content[:20_000]  # full of valid frames
  size = bytes(len(picture) >> shift & 0x7F for shift in (21, 14, 7, 0))
  tagged = b"ID3\4\0\0" + size + picture + content
  assert mp3.scan(tagged) == stream._replace(start=stream.start + 10 + len(picture))
  garbage = np.random.default_rng(0).bytes(5_000)
  assert mp3.scan(garbage + content) == stream._replace(start=stream.start + 5_000)
  assert mp3.scan(content + tagged).sound is None  # joined


def test_garbage_inside_costs_few_frames(encode, noise):
  content = encode(noise(LENGTH), 44_100, ".mp3")
  middle = len(content) // 2
  damaged = content[:middle] + np.random.default_rng(0).bytes(3_000) + content[middle:]
  whole, stream = mp3.scan(content), mp3.scan(damaged)
  assert whole.num_frames - 3 <= stream.num_frames < whole.num_frames
  assert stream.rates == {44_100}
  assert whole.sound is None
  assert stream.sound == pytest.approx(whole.num_frames / 2, abs=3)
  assert whole.announced == whole.num_frames + 1  # the last does not count


def test_what_is_no_mp3_stream_has_no_frames():
  for content in (
    b"",
    b"ID3",
    bytes(100),
    b"\xff" * 1000,
    b"ID3\4\0\0\x7f\x7f\x7f\x7f",
  ):
    stream = mp3.scan(content)
    assert stream.num_frames == stream.num_samples == 0
    assert stream.rates == stream.channels == set()
