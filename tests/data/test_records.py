import contextlib
import dataclasses
import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixit_jax.audio.files import decode
from mixit_jax.audio.pcm import to_float32
from mixit_jax.data.records import (
  Manifest,
  RecordError,
  Segment,
  decode_segment,
  encode_segment,
  open_shards,
  write_shard,
)
from mixit_jax.errors import UserError

CODECS = ("flac", "wav")


def _noise(seconds: float = 1.0, rate: int = 8000) -> np.ndarray:
  pcm = np.random.default_rng(3).integers(-(2**15), 2**15, (2, round(seconds * rate)))
  pcm[:, :2] = -32768, 32767
  return (pcm / 32768).astype(np.float32)


def _file(audio: np.ndarray, rate: int = 8000, **tags: str) -> bytes:
  buffer = io.BytesIO()
  with soundfile.SoundFile(
    buffer, "w", rate, len(audio), tags.pop("subtype", "PCM_16"), format="FLAC"
  ) as file:
    for name, value in tags.items():
      setattr(file, name, value)
    file.write(audio.T)
  return buffer.getvalue()


def _write_set(folder: Path, records: list[bytes], codec: str = "flac") -> Path:
  """One shard of segments of one second at 8 kHz."""
  file = "mixture/train-00000-of-00001.arrayrecord"
  count = write_shard(folder / file, records)
  Manifest(
    kind="fma",
    sample_rate=8000,
    seconds=1.0,
    hop_seconds=0.5,
    num_channels=2,
    codec=codec,
    splits={"train": {"mixture": [{"file": file, "records": count}]}},
  ).save(folder)
  return folder


@pytest.mark.parametrize("codec", CODECS)
def test_segments_of_16_bits_survive_unchanged(codec):
  segment = Segment(_noise(), "Künstler/Stück — 曲.mp3", 12.345678901234567)
  decoded = decode_segment(encode_segment(segment, 8000, codec))
  np.testing.assert_array_equal(to_float32(decoded.audio), segment.audio)
  assert decoded.audio.dtype == np.int16
  assert decoded.audio.flags.c_contiguous
  assert (decoded.track, decoded.start) == (segment.track, segment.start)


def test_systems_without_files_in_memory_decode_the_same(monkeypatch):
  record = encode_segment(Segment(_noise(), "track", 1.5), 8000)
  expected = decode_segment(record)
  monkeypatch.delattr(os, "memfd_create", raising=False)
  found = decode_segment(record)
  np.testing.assert_array_equal(found.audio, expected.audio)
  assert (found.track, found.start) == (expected.track, expected.start)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="open files are not listed")
def test_decoding_leaves_no_file_open():
  good = encode_segment(Segment(_noise(0.1), "track", 0.0), 8000)
  folder = Path("/dev/fd")
  before = len(list(folder.iterdir()))
  for record in 10 * (good, good[:40], b"no audio"):
    with contextlib.suppress(RecordError):
      decode_segment(record)
  assert len(list(folder.iterdir())) < before + 10


def test_any_file_name_and_number_can_be_stored():
  latin = b"caf\xe9.mp3".decode("utf-8", "surrogateescape")
  for track, stored in (("", ""), (latin, "caf\\udce9.mp3"), ("x" * 500, "x" * 500)):
    segment = Segment(_noise(0.01), track, np.float64(0.1))
    decoded = decode_segment(encode_segment(segment, 8000))
    assert (decoded.track, decoded.start) == (stored, 0.1)


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_is_an_ordinary_audio_file(codec):
  audio, rate = decode(encode_segment(Segment(_noise(), "a", 0.0), 11025, codec))
  np.testing.assert_array_equal(audio, _noise())
  assert rate == 11025


def test_a_loud_segment_is_scaled_down_and_not_clipped():
  audio = _noise() * 1.6
  decoded = to_float32(
    decode_segment(encode_segment(Segment(audio, "a", 0.0), 8000)).audio
  )
  assert np.abs(decoded).max() == pytest.approx(1.0, abs=1e-4)
  np.testing.assert_allclose(decoded, audio / 1.6, atol=4e-5)


def test_a_segment_without_finite_samples_is_refused():
  audio = _noise()
  audio[0, 5] = np.nan
  for bad, message in (
    (audio, r"segment of 'a\.mp3' at 5 s: holds samples that are not finite"),
    (audio[:, :0], r"found shape \(2, 0\)"),
    (audio[0], r"found shape \(8000,\)"),
  ):
    with pytest.raises(RecordError, match=message):
      encode_segment(Segment(bad, "a.mp3", 5.0), 8000)


def test_other_bytes_are_no_record():
  good = encode_segment(Segment(_noise(), "a", 0.0), 8000)
  for data, message in (
    (b"", "cannot be decoded"),
    (b"some text" * 100, "cannot be decoded"),
    (good[: len(good) // 2], "decoded"),
    (_file(_noise(), title="a"), "expected the comment 'start=<seconds>', found ''"),
    (_file(_noise(), subtype="PCM_24"), "expected 16-bit samples, found PCM_24"),
  ):
    with pytest.raises(RecordError, match=f"^record 7.*: .*{message}"):
      decode_segment(data, "record 7")


def test_shards_are_read_in_the_order_of_the_manifest(mixture_set):
  source = open_shards(mixture_set, "train", "mixture")
  assert len(source) == 21
  for record in range(21):
    segment = source[np.int64(record)]
    assert (segment.audio[1] == record + 1).all()
    assert segment.track == f"track{record // 3}.mp3"
  place = source.place(7)
  assert (place.shard.name, place.number) == ("train-00001-of-00003.arrayrecord", 0)
  assert place.track == source[7].track


def test_records_outside_the_source_do_not_exist(mixture_set):
  source = open_shards(mixture_set, "train", "mixture")
  for record in (-1, 21):
    with pytest.raises(IndexError, match=f"record {record} of 21"):
      source[record]
    with pytest.raises(IndexError):
      source.place(record)
  for first, length in ((-1, 5), (1999, 2), (2001, None)):
    with pytest.raises(IndexError, match="of 2000"):
      source.read(0, first, length)


@pytest.mark.parametrize("codec", CODECS)
def test_a_part_of_a_segment_equals_the_part_of_the_whole(tmp_path, codec):
  # Longer than a block of FLAC, so that reading has to seek.
  record = encode_segment(Segment(_noise(5.0), "a", 60.0), 8000, codec)
  _write_set(tmp_path, [record], codec)
  manifest = dataclasses.replace(Manifest.load(tmp_path), seconds=5.0)
  manifest.save(tmp_path)
  source = open_shards(tmp_path, "train", "mixture")
  whole = source[0].audio
  for first in (0, 1, 4095, 4096, 4097, 13_577, 39_999):
    for length in (0, 1, 9000, None):
      if first + (length or 0) <= 40_000:
        part = source.read(0, first, length)
        stop = None if length is None else first + length
        np.testing.assert_array_equal(part.audio, whole[:, first:stop])
        assert part.start == 60.0 + first / 8000


def test_threads_read_what_one_thread_reads(mixture_set):
  source = open_shards(mixture_set, "train", "mixture")
  order = np.random.default_rng(0).integers(21, size=300)
  with ThreadPoolExecutor(8) as pool:
    segments = list(pool.map(source.__getitem__, order))
  for record, segment in zip(order, segments, strict=True):
    np.testing.assert_array_equal(segment.audio, source[record].audio)


def test_a_failed_shard_leaves_nothing_behind(tmp_path):
  def records():
    yield b"first"
    raise ValueError("the source failed")

  with pytest.raises(ValueError, match="the source failed"):
    write_shard(tmp_path / "shard", records())
  assert not list(tmp_path.iterdir())
  assert write_shard(tmp_path / "shard", [b"old"]) == 1
  before = (tmp_path / "shard").read_bytes()
  with pytest.raises(ValueError, match="the source failed"):
    write_shard(tmp_path / "shard", records())
  assert [path.name for path in tmp_path.iterdir()] == ["shard"]
  assert (tmp_path / "shard").read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.raises(UserError, match="file/shard: cannot be written"):
    write_shard(tmp_path / "file" / "shard", [b"record"])


def test_a_flipped_record_is_named_and_the_others_stay_readable(mixture_set, tmp_path):
  folder = Path(shutil.copytree(mixture_set, tmp_path / "set"))
  path = folder / "mixture/train-00001-of-00003.arrayrecord"
  data = bytearray(path.read_bytes())
  starts = [at for at in range(len(data)) if data.startswith(b"fLaC", at)]
  assert len(starts) == 5
  data[starts[3] + 200] ^= 1
  path.write_bytes(data)
  source = open_shards(folder, "train", "mixture")
  for read in (source.__getitem__, source.place):
    with pytest.raises(RecordError, match=r"00001-of-00003\.arrayrecord, record 3: "):
      read(7 + 3)
  for record in set(range(21)) - {10}:
    assert source[record].track == f"track{record // 3}.mp3"


def test_missing_and_damaged_shards_are_named_at_opening(mixture_set, tmp_path):
  folder = Path(shutil.copytree(mixture_set, tmp_path / "set"))
  path = folder / "mixture/train-00002-of-00003.arrayrecord"
  whole = path.read_bytes()
  for content in (b"", whole[:-20_000], whole[:70_000], b"text" * 30_000):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"00002-of-00003\.arrayrecord: .*truncated or"):
      open_shards(folder, "train", "mixture")
  shutil.copy(folder / "mixture/train-00001-of-00003.arrayrecord", path)
  with pytest.raises(UserError, match="expected 9 records as in the manifest, found 5"):
    open_shards(folder, "train", "mixture")
  path.unlink()
  with pytest.raises(UserError, match="shard is missing"):
    open_shards(folder, "train", "mixture")


def test_an_empty_source_is_refused(tmp_path):
  _write_set(tmp_path, [])
  with pytest.raises(UserError, match="'mixture' of split 'train' holds no record"):
    open_shards(tmp_path, "train", "mixture")


def test_records_that_do_not_fit_the_manifest_are_named(tmp_path):
  audio = _noise()
  others = [
    encode_segment(Segment(audio, "a", 0.0), 11025),
    encode_segment(Segment(audio[:, :-1], "a", 0.0), 8000),
    encode_segment(Segment(audio[:1], "a", 0.0), 8000),
  ]
  _write_set(tmp_path, [encode_segment(Segment(audio, "a", 0.0), 8000), *others])
  source = open_shards(tmp_path, "train", "mixture")
  np.testing.assert_array_equal(to_float32(source[0].audio), audio)
  for record, found in ((1, "11025, 2, 8000"), (2, "8000, 2, 7999"), (3, "8000, 1,")):
    with pytest.raises(RecordError, match=rf"record {record}: .* found \({found}"):
      source.read(record, 0, 100)
