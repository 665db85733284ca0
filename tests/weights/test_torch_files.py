"""PyTorch files in and out: nothing in them is executed."""

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.weights.torch_files import read_torch_file, write_torch_file

torch = pytest.importorskip("torch")

STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(500)}


class Touch:
  """Writes a file when it is unpickled."""

  def __init__(self, target: Path):
    self.target = target

  def __reduce__(self):
    return Path.touch, (self.target,)


def test_what_is_written_is_read_again(tmp_path):
  path = tmp_path / "new folder" / "model.pth"
  write_torch_file(path, STATE)
  found = read_torch_file(path)
  assert found.keys() == STATE.keys()
  for key, array in STATE.items():
    np.testing.assert_array_equal(found[key].numpy(), array, strict=True)
  assert [p.name for p in path.parent.iterdir()] == ["model.pth"]


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
  path = tmp_path / "model.pth"
  write_torch_file(path, STATE)
  before = path.read_bytes()

  def save(_, target):
    Path(target).write_bytes(b"half")
    raise OSError("disk full")

  monkeypatch.setattr(torch, "save", save)
  with pytest.raises(OSError, match="disk full"):
    write_torch_file(path, STATE)
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]


def test_lightning_checkpoint_is_read(tmp_path):
  path = tmp_path / "last.ckpt"
  content = {"epoch": 3, "state_dict": {"a": torch.ones(2)}, "lr_schedulers": [{}]}
  torch.save(content, path)
  assert read_torch_file(path)["state_dict"]["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_file_is_refused_and_not_executed(tmp_path, zipped):
  target = tmp_path / "executed"
  path = tmp_path / "model.pth"
  content = {"a": torch.ones(2), "evil": Touch(target)}
  torch.save(content, path, _use_new_zipfile_serialization=zipped)
  with pytest.raises(UserError, match=r"model\.pth holds a Python object .* refused"):
    read_torch_file(path)
  assert not target.exists()
  # The trap works: an ordinary load would have sprung it.
  torch.load(path, weights_only=False)
  assert target.exists()


def test_malicious_bare_pickle_is_not_executed(tmp_path):
  target = tmp_path / "executed"
  path = tmp_path / "model.pth"
  for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    path.write_bytes(pickle.dumps(Touch(target), protocol=protocol))
    with pytest.raises(UserError, match=r"model\.pth"):
      read_torch_file(path)
    assert not target.exists()


def damaged(good: bytes) -> dict[str, bytes]:
  middle = len(good) // 2
  flipped = bytes([good[middle] ^ 255])
  return {
    "empty": b"",
    "text": b"<html>404</html>\n" * 20,
    "noise": np.random.default_rng(0).bytes(5000),
    "cut": good[:middle],
    "without end": good[:-30],
    "one byte changed": good[:middle] + flipped + good[middle + 1 :],
  }


@pytest.mark.parametrize("kind", damaged(bytes(10)))
def test_damaged_file_is_named(tmp_path, kind):
  path = tmp_path / "model.pth"
  write_torch_file(path, STATE)
  path.write_bytes(damaged(path.read_bytes())[kind])
  with pytest.raises(UserError, match=r"model\.pth is damaged") as info:
    read_torch_file(path)
  assert "\n" not in str(info.value)


def test_file_without_checksums_is_read(tmp_path):
  path = tmp_path / "model.pth"
  torch.serialization.set_crc32_options(False)
  try:
    write_torch_file(path, STATE)
  finally:
    torch.serialization.set_crc32_options(True)
  with zipfile.ZipFile(path) as archive:
    assert not any(member.CRC for member in archive.infolist())
  assert read_torch_file(path).keys() == STATE.keys()


def test_missing_file_and_other_content_are_named(tmp_path):
  with pytest.raises(UserError, match=r"none\.pth: no such file"):
    read_torch_file(tmp_path / "none.pth")
  torch.save([torch.ones(2)], tmp_path / "list.pth")
  with pytest.raises(UserError, match=r"list\.pth: expected a state dict, .* list"):
    read_torch_file(tmp_path / "list.pth")


def test_missing_torch_says_how_to_install_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  with pytest.raises(UserError, match=r"pip install 'mixit-jax\[torch\]"):
    read_torch_file(tmp_path / "model.pth")
  with pytest.raises(UserError, match=r"pip install 'mixit-jax\[torch\]"):
    write_torch_file(tmp_path / "model.pth", STATE)
