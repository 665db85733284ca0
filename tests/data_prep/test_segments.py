import os
import subprocess
import sys

import numpy as np
import pytest
from music_files import RATE, noise, write

from data_prep.segments import Cut, StemShard, quiet_decoders, segments_of
from data_prep.shards import ShardPlace, read_report
from mixit_jax.audio.activity import active_segments, segment_starts
from mixit_jax.audio.pcm import to_float32
from mixit_jax.data.records import decode_segment
from mixit_jax.errors import UserError

CUT = Cut(RATE, 2.0, 0.5, "wav")


def test_records_hold_audio_track_and_start():
  audio = noise(1, 3)
  segments = [decode_segment(r) for r in CUT.records("a.mp3", audio, [0, 4000])]
  for segment, start in zip(segments, (0, 4000), strict=True):
    assert (segment.track, segment.start) == ("a.mp3", start / RATE)
    np.testing.assert_array_equal(
      to_float32(segment.audio), audio[:, start : start + 2 * RATE]
    )


@pytest.mark.parametrize(("seconds", "hop"), [(1e-5, 1.0), (1.0, 1e-5)])
def test_segments_and_hops_without_a_sample_are_refused(seconds, hop):
  with pytest.raises(UserError, match="expected at least one sample at 8000 Hz"):
    Cut(RATE, seconds, hop, "flac")


@pytest.mark.parametrize("hop", [1, 70, 100, 250])
@pytest.mark.parametrize("block", [1, 33, 100, 1000])
def test_segments_of_blocks_are_those_of_the_whole(hop, block):
  audio = np.arange(2 * 777, dtype=np.float32).reshape(2, 777)
  blocks = (audio[:, first : first + block] for first in range(0, 777, block))
  found = list(segments_of(blocks, 100, hop))
  assert [start for start, _ in found] == segment_starts(777, 100, hop)
  for start, segment in found:
    np.testing.assert_array_equal(segment, audio[:, start : start + 100])


def test_stems_keep_the_segments_in_which_they_sound(tmp_path):
  audio = noise(1, 12)
  audio[:, : 5 * RATE] = 0
  write(tmp_path / "train/My Song/bass.wav", audio)
  write(tmp_path / "train/Mute/bass.wav", np.zeros((2, 3 * RATE), np.float32))
  files = ("train/My Song/bass.wav", "train/Mute/bass.wav", "train/Gone/bass.wav")
  place = ShardPlace(tmp_path / "out", "bass", "train", 0, 1)
  job = StemShard(place, tmp_path, tuple((file,) for file in files), CUT)
  segments = [decode_segment(record) for record in job._cut_stem((files[0],))]
  starts, _ = active_segments(audio, RATE, 2.0, 0.5)
  assert [round(s.start * RATE) for s in segments] == starts
  assert 0 < len(starts) < 21
  assert {s.track for s in segments} == {"My Song"}
  job.run()
  report = read_report(place)
  assert report.records == len(starts)
  assert report.skipped == [
    {"file": files[1], "reason": "never sounds for long enough"},
    {"file": files[2], "reason": "expected an audio file, found none"},
  ]
  assert job.is_finished()


def test_quiet_decoders_hide_what_libraries_print_and_nothing_else():
  script = (
    "import os\n"
    "from data_prep.segments import quiet_decoders\n"
    "with quiet_decoders():\n  os.write(2, b'noise of a library')\n"
    "os.write(2, b'kept')\n"
  )
  done = subprocess.run([sys.executable, "-c", script], capture_output=True)
  assert done.stderr == b"kept"


def _next_file():
  number = os.dup(0)
  os.close(number)
  return number


def test_quiet_decoders_leave_no_open_files():
  before = _next_file()
  with pytest.raises(ZeroDivisionError), quiet_decoders():
    _ = 1 / 0
  assert _next_file() == before
