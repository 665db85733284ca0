"""WAV records: parts are read and checked without the rest."""

import contextlib
import io
import os
import struct

import numpy as np
import pytest
import soundfile
from tiny_sets import RATE, write_set

from mixit_jax.data import records
from mixit_jax.data.encoding import Segment, read_part
from mixit_jax.data.readers import READERS
from mixit_jax.data.record_bytes import RecordBytes
from mixit_jax.data.records import (
  Manifest,
  RecordError,
  encode_segment,
  open_shards,
  write_shard,
)
from mixit_jax.data.wav import encode_wav, read_layout

# Longer than a block of samples, and longer than a block of the shard.
LENGTHS = (1, 8191, 8192, 8193, 70_001, 3, 300_000)


def _noise(length, channels=2):
  generator = np.random.default_rng(length)
  return generator.integers(-(2**15), 2**15, (channels, length)).astype(np.int16)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
  """A shard of records of many lengths, and the records."""
  path = tmp_path_factory.mktemp("wav") / "shard"
  contents = [encode_wav(_noise(n), 44100, f"Stück {n}", "start=1.5") for n in LENGTHS]
  assert write_shard(path, contents) == len(LENGTHS)
  return path, contents


def test_any_bytes_of_a_record_can_be_read(shard):
  path, contents = shard
  descriptor = os.open(path, os.O_RDONLY)
  found = RecordBytes(descriptor)
  assert found.count == len(contents)
  generator = np.random.default_rng(0)
  for number, content in enumerate(contents):
    assert found.size(number) == len(content)
    assert found.read(number, 0, 10**9) == content
    for first in generator.integers(len(content), size=20):
      size = int(generator.integers(200_000))
      assert found.read(number, first, size) == content[first : first + size]
  os.close(descriptor)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_other_programs_read_a_record(length, channels):
  pcm = _noise(length, channels)
  data = encode_wav(pcm, 22050, "a title", "a comment")
  with soundfile.SoundFile(io.BytesIO(data)) as file:
    np.testing.assert_array_equal(file.read(dtype="int16", always_2d=True).T, pcm)
    assert (file.title, file.comment, file.samplerate) == (
      "a title",
      "a comment",
      22050,
    )
  assert struct.unpack_from("<I", data, 4)[0] + 8 == len(data)


def test_a_record_of_another_program_is_read_as_a_whole():
  buffer = io.BytesIO()
  with soundfile.SoundFile(buffer, "w", 8000, 2, "PCM_16", format="WAV") as file:
    file.title, file.comment = "track", "start=2.0"
    file.write(_noise(5000).T)
  data = buffer.getvalue()
  segment = records.decode_segment(data)
  np.testing.assert_array_equal(segment.audio, _noise(5000))
  assert (segment.track, segment.start) == ("track", 2.0)
  assert read_layout(data).sums is None
  assert read_part(lambda first, size: data[first : first + size], "", 0, 9) is None


@pytest.fixture
def wav_set(tmp_path):
  """Three records of 20 s in one shard."""
  audio = [_noise(20 * RATE) + 0 for _ in range(3)]
  for number, samples in enumerate(audio):
    samples[0, 0] = number
  content = [
    encode_segment(Segment(a, f"track {n}", 0.0), RATE, "wav")
    for n, a in enumerate(audio)
  ]
  file = "mixture/train-00000-of-00001.arrayrecord"
  write_shard(tmp_path / file, content)
  Manifest(
    kind="fma",
    sample_rate=RATE,
    seconds=20.0,
    hop_seconds=20.0,
    num_channels=2,
    codec="wav",
    splits={"train": {"mixture": [{"file": file, "records": 3}]}},
  ).save(tmp_path)
  return tmp_path, tmp_path / file, audio


def test_a_crop_reads_its_blocks_alone(wav_set, monkeypatch):
  folder, _, audio = wav_set
  source = open_shards(folder, "train", "mixture")
  read = []
  pread = os.pread

  def counting(descriptor, size, offset):
    read.append(size)
    return pread(descriptor, size, offset)

  source.read(0, 0, 1)  # finds the records
  monkeypatch.setattr(os, "pread", counting)
  monkeypatch.setattr(READERS, "read", lambda *_: pytest.fail("the whole was read"))
  segment = source.read(1, 50_000, 16_000)
  np.testing.assert_array_equal(segment.audio, audio[1][:, 50_000:66_000])
  assert (segment.track, segment.start) == ("track 1", 50_000 / RATE)
  assert source.place(2).track == "track 2"
  # 16,000 frames of 4 bytes, whole blocks, and two headers.
  assert sum(read) < (16_000 + 2 * 8192) * 4 + 2 * 2**14 + 200


def test_every_flipped_bit_is_found_where_it_is_read(wav_set):
  folder, path, audio = wav_set
  whole = path.read_bytes()
  places = [at for at in range(len(whole)) if whole.startswith(b"RIFF", at)]
  source = open_shards(folder, "train", "mixture")
  generator = np.random.default_rng(0)
  for offset in [9, 30, 60, 100, 200, *generator.integers(250, 640_000, 8)]:
    damaged = bytearray(whole)
    damaged[places[1] + int(offset)] ^= 1 << int(generator.integers(8))
    path.write_bytes(damaged)  # into the file that is open
    with pytest.raises(RecordError, match="record 1: cannot be read"):
      source.read(1)
    # A crop that does not touch the place is as it was.
    with contextlib.suppress(RecordError):
      np.testing.assert_array_equal(source.read(1, 0, 1).audio, audio[1][:, :1])
    np.testing.assert_array_equal(source.read(2).audio, audio[2])


def test_flac_sets_are_not_touched_by_it(tmp_path, monkeypatch):
  folder = write_set(tmp_path, {"mixture": [["a", "b"]]})
  monkeypatch.setattr(READERS, "read_bytes", lambda *_: pytest.fail("read in part"))
  assert open_shards(folder, "train", "mixture").read(0, 5, 10).track == "a"
