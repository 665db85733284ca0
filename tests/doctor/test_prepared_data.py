"""`mixit-jax doctor --data`: what a run would read is read."""

import shutil

import pytest
from training.tiny import RATE, stem_audio

from mixit_jax.audio.files import write_audio
from mixit_jax.cli import main
from mixit_jax.data.manifest import Manifest


@pytest.fixture
def data(music, tmp_path):
  """The tiny data set with its songs in the manifest."""
  folder = shutil.copytree(music, tmp_path / "data")
  manifest = Manifest.load(folder)
  manifest.songs["valid"] = ["valid/song 6", "valid/song 7"]
  manifest.save(folder)
  return folder


def doctor(capsys, *flags):
  status = main(["doctor", *flags])
  said = capsys.readouterr()
  return status, said.out.splitlines(), said.err


@pytest.mark.parametrize("every", [(), ("--data-all",)])
def test_whole_data_is_whole(data, capsys, every):
  status, lines, _ = doctor(capsys, f"--data={data}", *every)
  assert status == 0
  assert len(lines) == 1 + 2 * 5 + 1
  assert "stems bass, drums, vocals, other, segments of 1 s at 2000 Hz" in lines[0]
  amount = "all 6" if every else "4 of 6"
  assert any(f"train mixture: {amount} records are whole" in line for line in lines)
  assert "validation songs: 2 songs of 0.1 min are whole" in lines[-1]


def test_damage_is_found_and_named(data, capsys):
  path = data / "drums/train-00000-of-00001.arrayrecord"
  content = bytearray(path.read_bytes())
  for place in [at for at in range(len(content)) if content.startswith(b"fLaC", at)]:
    content[place + 300] ^= 1
  path.write_bytes(content)
  (data / "bass/valid-00000-of-00001.arrayrecord").unlink()
  write_audio(data / "valid/song 6/vocals.wav", stem_audio(2, 6, 0.9), RATE)
  shutil.rmtree(data / "valid/song 7")
  status, lines, err = doctor(capsys, f"--data={data}", "--data-all")
  assert status == 1
  failed = [line for line in lines if line.startswith("FAILED")]
  assert len(failed) == 3
  assert "drums: 6 of 6 records are damaged: " in failed[0]
  assert "; and 1 more" in failed[0]
  assert "the shard is missing" in failed[1]
  assert "song 7 is missing" in failed[2]
  assert "song 6: expected files of equal length" in failed[2]
  assert "3 of 12 checks failed" in err


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (("--data=nowhere",), "1 of 1 checks failed"),
    (("--data-all",), "--data-all needs --data"),
    (("--data=x", "--config=configs/demo.py:pretrain"), "a question of its own"),
  ],
)
def test_mistakes_are_one_line(flags, words, capsys):
  status, _, err = doctor(capsys, *flags)
  assert status == 1
  assert words in err
