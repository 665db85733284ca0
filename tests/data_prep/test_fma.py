import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from music_files import RATE, noise, write

from data_prep import fma
from data_prep.splits import split_by_hash
from mixit_jax.audio.pcm import to_float32
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.records import open_shards
from mixit_jax.errors import UserError

REPOSITORY = Path(fma.__file__).parent.parent
SIZES = (f"--sample-rate={RATE}", "--seconds=2", "--hop=1", "--workers=1")


def _prepare(audio, out, *flags):
  fma.main([f"--audio={audio}", f"--out={out}", *SIZES, *flags])
  return Manifest.load(out)


def _files(folder):
  """Content of all files by name."""
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def _records(out, split):
  source = open_shards(out, split, "mixture")
  return [source[index] for index in range(len(source))]


@pytest.fixture
def music(tmp_path):
  folder = tmp_path / "music"
  for number in range(6):
    write(folder / f"disc {number % 2}/{number}.wav", noise(number, 4.5))
  return folder


def _write_metadata(folder, tracks):
  folder.mkdir()
  with (folder / "tracks.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["", "set", "set"])
    writer.writerow(["", "split", "subset"])
    writer.writerow(["track_id", "", ""])
    writer.writerows(tracks)
  return folder


def test_segments_of_any_folder_are_the_music(music, tmp_path, capsys):
  manifest = _prepare(music, tmp_path / "out")
  assert (manifest.kind, manifest.sample_rate, manifest.skipped) == ("fma", RATE, [])
  records = _records(tmp_path / "out", "train") + _records(tmp_path / "out", "valid")
  assert {record.track for record in records} == {
    f"disc {n % 2}/{n}.wav" for n in range(6)
  }
  for record in records:
    original = noise(int(Path(record.track).stem), 4.5)
    start = round(record.start * RATE)
    np.testing.assert_array_equal(
      to_float32(record.audio), original[:, start : start + 2 * RATE]
    )
  starts = [record.start for record in records if record.track == "disc 1/1.wav"]
  assert starts == [0.0, 1.0, 2.0]
  assert "18 segments of 2 s (train 15, valid 3) of 6 files" in capsys.readouterr().out


def test_broken_short_and_silent_files_are_left_out_with_reasons(
  music, tmp_path, capsys
):
  (music / "page.mp3").write_text("<html>404</html>")
  cut = (music / "disc 0/0.wav").read_bytes()
  (music / "empty.wav").write_bytes(cut[:44])
  (music / "none.flac").write_bytes(b"")
  write(music / "short.flac", noise(9, 1.9))
  write(music / "silent.flac", np.zeros((2, 4 * RATE), np.float32))
  write(music / "wide.wav", noise(9, 4, channels=3))
  manifest = _prepare(music, tmp_path / "out")
  reasons = {entry["file"]: entry["reason"] for entry in manifest.skipped}
  assert set(reasons) == {
    "page.mp3",
    "empty.wav",
    "none.flac",
    "short.flac",
    "silent.flac",
    "wide.wav",
  }
  assert reasons["short.flac"] == "its 1.90 s are shorter than a segment of 2 s"
  assert reasons["silent.flac"] == "all of its 3 segments are mostly silent"
  assert reasons["wide.wav"] == "has 3 channel(s), only mono or stereo is accepted"
  assert reasons["empty.wav"] == "holds no audio"
  assert (
    "left out: cannot be decoded 3, channels 1, silent 1, too short 1; see"
  ) in capsys.readouterr().out


def test_silent_segments_are_dropped_but_not_their_track(tmp_path):
  audio = noise(1, 8)
  audio[:, 2 * RATE : 6 * RATE] = 0
  write(tmp_path / "music/a.wav", audio)
  _prepare(tmp_path / "music", tmp_path / "out")
  starts = [record.start for record in _records(tmp_path / "out", "train")]
  assert starts == [0.0, 1.0, 5.0, 6.0]


def test_accept_decides_on_mono_and_low_rates(tmp_path):
  write(tmp_path / "music/stereo.wav", noise(1, 4))
  write(tmp_path / "music/mono.wav", noise(2, 4, channels=1))
  write(tmp_path / "music/low.wav", noise(3, 4, rate=RATE // 2), RATE // 2)
  write(tmp_path / "music/high.wav", noise(4, 4, rate=2 * RATE), 2 * RATE)
  flags = ("--valid-share=0",)
  assert _prepare(tmp_path / "music", tmp_path / "any", *flags).skipped == []
  mono = next(r for r in _records(tmp_path / "any", "train") if r.track == "mono.wav")
  np.testing.assert_array_equal(mono.audio[0], mono.audio[1])
  manifest = _prepare(tmp_path / "music", tmp_path / "paper", *flags, "--accept=paper")
  assert {entry["file"]: entry["reason"] for entry in manifest.skipped} == {
    "mono.wav": "has 1 channel(s), only stereo is accepted",
    "low.wav": "has a sample rate of 4000 Hz, at least 8000 Hz is accepted",
  }
  assert {r.track for r in _records(tmp_path / "paper", "train")} == {
    "stereo.wav",
    "high.wav",
  }


def test_metadata_gives_the_split_the_subset_and_the_rule_of_the_paper(tmp_path):
  rows = [
    [2, "training", "small"],
    [3, "validation", "small"],
    [5, "training", "medium"],
    [6, "training", "small"],
    [7, "training", "large"],
    [8, "test", "small"],
  ]
  metadata = _write_metadata(tmp_path / "fma_metadata", rows)
  for number in (2, 3, 5, 7, 8):
    channels = 1 if number == 5 else 2
    write(tmp_path / f"fma/000/{number:06d}.wav", noise(number, 2, channels=channels))
  write(tmp_path / "fma/000/000099.wav", noise(99, 2))
  out = tmp_path / "out"
  manifest = _prepare(
    tmp_path / "fma", out, f"--metadata={metadata}", "--subset=medium"
  )
  assert {
    split: {record.track for record in _records(out, split)}
    for split in manifest.splits
  } == {
    "train": {"000/000002.wav"},
    "valid": {"000/000003.wav"},
    "test": {"000/000008.wav"},
  }
  assert manifest.skipped == [
    {"file": "000/000099.wav", "reason": "is not in tracks.csv"},
    {"file": "000/000006", "reason": "is in tracks.csv, but not in the folder"},
    {"file": "000/000005.wav", "reason": "has 1 channel(s), only stereo is accepted"},
  ]


def test_metadata_of_other_music_is_refused(music, tmp_path):
  metadata = _write_metadata(tmp_path / "fma_metadata", [[77, "training", "small"]])
  with pytest.raises(UserError, match=r"none of its 6 audio files is a track"):
    _prepare(music, tmp_path / "out", f"--metadata={metadata}")


def test_music_that_gives_nothing_is_an_error_that_says_why(tmp_path):
  with pytest.raises(UserError, match="nowhere: expected a folder"):
    _prepare(tmp_path / "nowhere", tmp_path / "out")
  (tmp_path / "empty").mkdir()
  with pytest.raises(UserError, match="holds no audio file"):
    _prepare(tmp_path / "empty", tmp_path / "out")
  write(tmp_path / "short/a.wav", noise(1, 1))
  with pytest.raises(UserError, match=r"all 1 files.*a\.wav: its 1\.00 s"):
    _prepare(tmp_path / "short", tmp_path / "out")


def test_a_split_without_a_segment_gives_a_warning(tmp_path, capsys):
  for name in "ab":
    write(tmp_path / f"music/{name}.wav", noise(1, 2))
  splits = split_by_hash(["a.wav", "b.wav"], 0.05)
  [valid] = [track for track, split in splits.items() if split == "valid"]
  write(tmp_path / f"music/{valid}", noise(1, 1))
  _prepare(tmp_path / "music", tmp_path / "out")
  assert "warning: no segment for validation: its 1 track" in capsys.readouterr().err
  (tmp_path / f"music/{valid}").unlink()
  _prepare(tmp_path / "music", tmp_path / "out of one")
  assert (
    "warning: no segment for validation: no track is left" in capsys.readouterr().err
  )


def test_finished_shards_are_kept_and_damaged_ones_made_again(music, tmp_path, capsys):
  out = tmp_path / "out"
  _prepare(music, out, "--tracks-per-shard=1")
  before = _files(out)
  shards = sorted(out.rglob("*.arrayrecord"))
  times = [path.stat().st_mtime_ns for path in shards]
  lost = len({r.track for r in _records(out, "train")}) - 1
  shards[0].write_bytes(shards[0].read_bytes()[:-1])
  capsys.readouterr()
  _prepare(music, out, "--tracks-per-shard=1")
  assert _files(out) == before
  assert [path.stat().st_mtime_ns for path in shards[1:]] == times[1:]
  assert 0 < int(capsys.readouterr().out.split("out: ")[1].split()[0]) < lost


def test_another_setting_is_refused(music, tmp_path):
  out = tmp_path / "out"
  _prepare(music, out)
  before = _files(out)
  with pytest.raises(UserError, match=r"codec is 'flac' there, 'wav' now"):
    _prepare(music, out, "--codec=wav")
  assert _files(out) == before


def test_a_folder_of_another_layout_is_left_alone(music, tmp_path):
  out = tmp_path / "out"
  _prepare(music, out)
  settings = json.loads((out / "preparation.json").read_text())
  del settings["layout"]
  (out / "preparation.json").write_text(json.dumps(settings))
  before = _files(out)
  with pytest.raises(UserError, match="prepared by another version of mixit_jax"):
    _prepare(music, out)
  assert _files(out) == before


@pytest.mark.parametrize(
  "flags",
  [
    ("--subset=small",),
    ("--metadata=x", "--valid-share=0.1"),
    ("--valid-share=0.6", "--test-share=0.5"),
    ("--seconds=0",),
    ("--hop=nan",),
    ("--sample-rate=44.1",),
    ("--valid-share=1",),
  ],
)
def test_senseless_flags_are_refused(flags, capsys):
  with pytest.raises(SystemExit):
    fma.parse_flags(["--audio=x", "--out=y", *flags])
  assert "error:" in capsys.readouterr().err


def test_names_that_are_no_text_are_prepared(music, tmp_path):
  (music / "disc 0/0.wav").rename(music / "caf\udce9.wav")  # Latin-1 bytes
  manifest = _prepare(music, tmp_path / "out", "--valid-share=0")
  tracks = {record.track for record in _records(tmp_path / "out", "train")}
  assert manifest.skipped == []
  assert any(track.startswith("caf") for track in tracks)


def test_no_warning_where_no_validation_is_wanted(music, tmp_path, capsys):
  _prepare(music, tmp_path / "out", "--valid-share=0")
  assert capsys.readouterr().err == ""


def _command(audio, out, *flags):
  names = [f"--audio={audio}", f"--out={out}", *SIZES, *flags]
  return [sys.executable, "-m", "data_prep.fma", *names]


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
  music, out = tmp_path / "music", tmp_path / "out"
  for number in range(8):
    write(music / f"{number}.wav", noise(number, 60))
  command = _command(music, out, "--tracks-per-shard=1")
  process = subprocess.Popen(command, cwd=REPOSITORY)
  try:
    while not list(out.rglob("*-of-*.json")):
      assert process.poll() is None
      time.sleep(0.01)
  finally:
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert not (out / "manifest.json").exists()
  again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
  assert again.returncode == 0, again.stderr
  assert 0 < int(again.stdout.split("out: ")[1].split()[0]) < 8
  _prepare(music, tmp_path / "whole", "--tracks-per-shard=1")
  assert _files(out) == _files(tmp_path / "whole")


def test_bytes_do_not_depend_on_the_number_of_workers(music, tmp_path):
  (music / "page.mp3").write_text("<html>404</html>")
  _prepare(music, tmp_path / "one")
  _prepare(music, tmp_path / "two", "--workers=2")
  assert _files(tmp_path / "one") == _files(tmp_path / "two")


def test_the_command_ends_with_one_line_for_a_mistake(tmp_path):
  command = _command(tmp_path / "nowhere", tmp_path / "out")
  done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
  assert done.returncode == 1
  assert done.stderr.startswith("error: ")
  assert done.stderr.count("\n") == 1


@pytest.mark.realdata
def test_real_music_good_and_broken(realdata, tmp_path):
  music = tmp_path / "music"
  music.mkdir()
  names = [
    "fma_like/spleeter_audio_example_mono.mp3",
    "fma_like/spleeter_audio_example.mp3",
    "fma_like/flactest_01_-_blocksize_4096.flac",
    "fma_like/fma_kevin_macleod_danse_macabre_finale.mp3",
    "fma_like/boomboxhead_boom_-_hit.mp3",
    "bad/derived_html_404_page.mp3",
    "bad/derived_zeroed_region.mp3",
    "bad/derived_flac_truncated.flac",
    "bad/derived_wav_streaming_size.wav",
    "bad/flacsubset_41_-_6_channels_(5.1).flac",
  ]
  for name in names:
    (music / Path(name).name).symlink_to(realdata / name)
  flags = ["--sample-rate=44100", "--seconds=4", "--hop=4", "--valid-share=0"]
  manifest = _prepare(music, tmp_path / "out", *flags)
  assert {entry["file"] for entry in manifest.skipped} == {
    "derived_html_404_page.mp3",
    "derived_flac_truncated.flac",  # what is left is shorter than a segment
    "flacsubset_41_-_6_channels_(5.1).flac",
  }
  assert {entry["file"] for entry in manifest.notes} == {"derived_zeroed_region.mp3"}
  records = _records(tmp_path / "out", "train")
  assert {record.audio.shape for record in records} == {(2, 4 * 44100)}
  assert len({record.track for record in records}) == 7
