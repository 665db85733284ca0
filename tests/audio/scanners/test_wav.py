import numpy as np
import pytest

from mixit_jax.audio.scanners import wav

RATE = 8000


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".rf64"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_length_is_that_of_the_samples(encode, noise, suffix, subtype, num_channels):
  content = encode(noise(5001, num_channels), RATE, suffix, subtype)
  assert wav.scan(content) == (5001, 5001, 0, False)
  half = wav.scan(content[: len(content) // 2])
  assert half.announced == 5001
  assert 2000 < half.held < 2501


def test_open_ended_headers_announce_nothing(encode, noise):
  content = encode(noise(5001), RATE, ".wav", "PCM_16")
  place = content.index(b"data") + 4
  for size in (0, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF):
    changed = content[:place] + size.to_bytes(4, "little") + content[place + 4 :]
    assert wav.scan(changed).announced is None
    assert wav.scan(changed).held == 5001


def test_other_files_and_compressed_samples_are_left_alone(encode, noise):
  for content in (b"", b"RIFF", b"RIFF1234WAVE", b"FORM1234AIFF" + bytes(99)):
    assert wav.scan(content) is None
  assert wav.scan(encode(noise(), RATE, ".wav", "IMA_ADPCM")) is None


@pytest.mark.parametrize("level", [0.01, 0.3])
def test_quiet_and_rough_music_is_not_called_shifted(encode, level):
  """White noise is the roughest music."""
  audio = np.random.default_rng(0).normal(0, level, (2, 40_000)).clip(-1, 0.99)
  content = encode(audio.astype(np.float32), RATE, ".wav", "PCM_16")
  assert not wav.scan(content).shifted
