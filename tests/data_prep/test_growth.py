import json
import os
import shutil

import pytest
from music_files import RATE, noise, write

from data_prep import cutting, fma, library, music
from mixit_jax.audio.files import decode
from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import UserError

FLAGS = (f"--sample-rate={RATE}", "--seconds=1", "--hop=1", "--workers=1")


@pytest.fixture
def prepared(tmp_path, monkeypatch):
  """A folder of music, and what prepares it and tells which files were decoded."""
  decoded = []
  cut = cutting.cut_track

  def counting(path, name, rules, folder):
    decoded.append(name)
    return cut(path, name, rules, folder)

  monkeypatch.setattr(music, "cut_track", counting)
  folder = tmp_path / "music"
  for number in range(8):
    write(folder / f"{number}.wav", noise(number, 2))
  (folder / "broken.mp3").write_bytes(b"\xff" * 999)

  def prepare(*flags, out="out"):
    decoded.clear()
    fma.main([f"--audio={folder}", f"--out={tmp_path / out}", *FLAGS, *flags])
    return sorted(decoded)

  assert len(prepare()) == 9
  prepare.folder, prepare.out = folder, tmp_path / "out"
  return prepare


def shards(out):
  files = [*out.rglob("*.arrayrecord"), out / "manifest.json"]
  return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def assert_as_if_at_once(prepare, *flags):
  prepare(*flags, out="again")
  assert shards(prepare.out) == shards(prepare.out.parent / "again")
  shutil.rmtree(prepare.out.parent / "again")


def test_nothing_is_done_twice(prepared):
  before = {path: path.stat().st_mtime_ns for path in prepared.out.rglob("*-of-*")}
  assert prepared() == []
  assert before == {p: p.stat().st_mtime_ns for p in prepared.out.rglob("*-of-*")}
  assert_as_if_at_once(prepared)


def test_new_changed_and_repaired_files_are_prepared_and_no_others(prepared):
  write(prepared.folder / "new/8.wav", noise(8, 3))
  write(prepared.folder / "1.wav", noise(11, 4))
  mended = write(prepared.folder / "x.mp3", noise(9, 2), RATE, None)
  mended.replace(prepared.folder / "broken.mp3")
  (prepared.folder / "2.wav").unlink()
  assert prepared() == ["1.wav", "broken.mp3", "new/8.wav"]
  assert_as_if_at_once(prepared)
  assert Manifest.load(prepared.out).skipped == []


def test_a_collection_that_outgrows_its_shards_copies_records(prepared):
  names = {path.name for path in prepared.out.rglob("train-*.arrayrecord")}
  for number in range(20, 40):
    write(prepared.folder / f"{number}.wav", noise(number, 1))
  assert len(prepared()) == 20
  assert not names & {path.name for path in prepared.out.rglob("train-*.arrayrecord")}
  assert_as_if_at_once(prepared)


def test_files_that_were_only_touched_are_not_decoded(prepared):
  os.utime(prepared.folder / "1.wav", (1, 1))
  before = shards(prepared.out)
  assert prepared() == []
  assert shards(prepared.out) == before
  reports = [
    json.loads(p.read_text()) for p in (prepared.out / "mixture").glob("*.json")
  ]
  times = {t["file"]: t["changed"] for report in reports for t in report["tracks"]}
  assert times["1.wav"] == 1_000_000_000


def test_verify_finds_other_content_behind_the_same_size_and_time(prepared):
  path = prepared.folder / "3.wav"
  status = path.stat()
  write(path, noise(33, 2))
  os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
  assert path.stat().st_size == status.st_size
  assert prepared() == []
  assert prepared("--verify") == ["3.wav"]
  assert prepared("--verify") == []
  assert_as_if_at_once(prepared)


def test_what_was_left_out_is_tried_again_on_demand_or_with_another_decoder(
  prepared, monkeypatch
):
  write(prepared.folder / "short.wav", noise(1, 0.5))
  assert prepared() == ["short.wav"]
  assert prepared() == []
  assert prepared("--retry-skipped") == ["broken.mp3", "short.wav"]
  for module in (library, music):
    monkeypatch.setattr(module, "decoder_versions", lambda: "libsndfile 2, PyAV 99")
  assert prepared() == ["broken.mp3"]
  assert prepared() == []


def test_duplicates_stay_out_of_validation_and_come_back_when_alone(prepared):
  reports = (prepared.out / "mixture").glob("valid-*.json")
  valid = [t["file"] for p in reports for t in json.loads(p.read_text())["tracks"]]
  train = next(f"{n}.wav" for n in range(8) if f"{n}.wav" not in valid)
  audio, _ = decode(prepared.folder / train)  # for another file with the same audio
  path = write(prepared.folder / "x.wav", audio, RATE, "FLOAT")
  path.replace(prepared.folder / valid[0])
  assert prepared() == [valid[0]]
  manifest = Manifest.load(prepared.out)
  reason = f"holds the same audio as {train}, which is in train"
  assert {"file": valid[0], "reason": reason} in manifest.skipped
  assert manifest.provenance["duplicates"] == 1
  assert_as_if_at_once(prepared)
  (prepared.folder / train).unlink()
  assert valid[0] in prepared()
  assert_as_if_at_once(prepared)


def test_duplicates_in_training_are_named_or_dropped(prepared):
  splits = {p.name[:5] for p in (prepared.out / "mixture").glob("*.json")}
  assert splits == {"train", "valid"}
  for number in range(50, 60):
    shutil.copy(prepared.folder / "1.wav", prepared.folder / f"{number}.wav")
  prepared()
  manifest = Manifest.load(prepared.out)
  assert manifest.provenance["duplicates"] == 10
  assert all("the same audio" in note["reason"] for note in manifest.notes)
  prepared("--duplicates=drop", out="dropped")
  dropped = Manifest.load(prepared.out.parent / "dropped")
  assert dropped.provenance["left_out"]["duplicate"] == 10
  assert dropped.provenance["files"] == 8
  prepared("--duplicates=keep", out="kept")
  assert Manifest.load(prepared.out.parent / "kept").provenance["files"] == 18


def test_the_manifest_tells_when_content_has_changed(prepared):
  before = Manifest.load(prepared.out).fingerprint
  write(prepared.folder / "1.wav", noise(12, 2))
  prepared()
  assert Manifest.load(prepared.out).fingerprint != before


def test_a_damaged_shard_is_named(prepared):
  """Copying finds what nobody has touched and time has spoiled."""
  shard = min(prepared.out.rglob("train-*.arrayrecord"))
  content = bytearray(shard.read_bytes())
  for place in range(200, len(content) // 2, 50):
    content[place] ^= 255
  shard.write_bytes(content)
  for number in range(20, 40):
    write(prepared.folder / f"{number}.wav", noise(number, 1))
  with pytest.raises(UserError, match="the shard is damaged: delete it"):
    prepared()
