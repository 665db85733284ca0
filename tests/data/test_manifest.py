import dataclasses
import json
from pathlib import Path

import pytest

from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import UserError

MANIFEST = Manifest(
  kind="musdb",
  sample_rate=44100,
  seconds=8.0,
  hop_seconds=4.0,
  num_channels=2,
  codec="flac",
  splits={"train": {"bass": [{"file": "bass/a.arrayrecord", "records": 3}]}},
  songs={"valid": ["valid/Zoë - Été"]},
  # The second name is not UTF-8.
  skipped=[{"file": f, "reason": "no audio"} for f in ("kaputt.mp3", "caf\udce9.mp3")],
)


def _edit(folder: Path, **changes) -> None:
  path = folder / "manifest.json"
  path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}))


def test_saved_manifest_loads_as_it_was(tmp_path):
  MANIFEST.save(tmp_path / "new")
  assert Manifest.load(tmp_path / "new") == MANIFEST
  assert [path.name for path in (tmp_path / "new").iterdir()] == ["manifest.json"]


def test_fingerprint_follows_the_records_alone():
  same = dataclasses.replace(MANIFEST, songs={}, skipped=[])
  more = dataclasses.replace(
    MANIFEST, splits={"train": {"bass": [{"file": "bass/a.arrayrecord", "records": 4}]}}
  )
  other_rate = dataclasses.replace(MANIFEST, sample_rate=48000)
  assert same.fingerprint == MANIFEST.fingerprint
  assert len({m.fingerprint for m in (MANIFEST, more, other_rate)}) == 3


def test_missing_manifest_says_how_to_make_one(tmp_path):
  with pytest.raises(UserError, match=r"manifest\.json: not found; .*data_prep"):
    Manifest.load(tmp_path / "nowhere")


def test_unreadable_manifest_is_named(tmp_path):
  for content in ("", "{", "[1, 2]", "null"):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: .*prepare the data again"):
      Manifest.load(tmp_path)


def test_another_version_is_refused(tmp_path):
  MANIFEST.save(tmp_path)
  _edit(tmp_path, version=2)
  with pytest.raises(UserError, match="expected version 1 of the manifest, found 2"):
    Manifest.load(tmp_path)


def test_missing_and_unknown_keys_are_named(tmp_path):
  MANIFEST.save(tmp_path)
  _edit(tmp_path, tempo=120)
  with pytest.raises(UserError, match="unknown keys 'tempo'"):
    Manifest.load(tmp_path)
  path = tmp_path / "manifest.json"
  path.write_text('{"version": 1, "kind": "fma"}')
  with pytest.raises(UserError, match="lacks 'codec', 'hop_seconds'"):
    Manifest.load(tmp_path)


def test_edited_counts_are_noticed(tmp_path):
  MANIFEST.save(tmp_path)
  splits = {"train": {"bass": [{"file": "bass/a.arrayrecord", "records": 2}]}}
  _edit(tmp_path, splits=splits)
  with pytest.raises(UserError, match="it was edited"):
    Manifest.load(tmp_path)


def test_unknown_split_and_source_name_what_there_is():
  assert MANIFEST.shards(Path("d"), "train", "bass")[0]["records"] == 3
  with pytest.raises(UserError, match="d: has no split 'test', only 'train'"):
    MANIFEST.shards(Path("d"), "test", "bass")
  with pytest.raises(UserError, match="no source 'mixture', only 'bass'"):
    MANIFEST.shards(Path("d"), "train", "mixture")
