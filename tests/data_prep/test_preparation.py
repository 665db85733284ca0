import pytest

from data_prep.preparation import claim_folder, fingerprint, run_jobs
from mixit_jax.errors import UserError
from mixit_jax.lock import FolderLock, LockError

SETTINGS = {"sample_rate": 44100, "hop": 5.0, "tracks": {"train": 3}}


def test_the_same_settings_may_go_on(tmp_path):
  out = tmp_path / "new/folder"
  claim_folder(out, "data_prep.fma", SETTINGS)
  (out / "mixture").mkdir()
  claim_folder(out, "data_prep.fma", SETTINGS)


def test_other_settings_are_refused_with_the_difference(tmp_path):
  claim_folder(tmp_path, "data_prep.fma", SETTINGS)
  before = (tmp_path / "preparation.json").read_bytes()
  with pytest.raises(UserError, match=r"hop is 5.0 there, 2.5 now\. Use the same"):
    claim_folder(tmp_path, "data_prep.fma", {**SETTINGS, "hop": 2.5})
  with pytest.raises(UserError, match=r"command is 'data_prep\.fma' there"):
    claim_folder(tmp_path, "data_prep.musdb", SETTINGS)
  assert (tmp_path / "preparation.json").read_bytes() == before


def test_a_folder_of_something_else_is_not_touched(tmp_path):
  (tmp_path / "thesis.txt").write_text("years of work")
  with pytest.raises(UserError, match="is not empty and was not made by"):
    claim_folder(tmp_path, "data_prep.fma", SETTINGS)
  with pytest.raises(UserError, match="expected a folder for the result"):
    claim_folder(tmp_path / "thesis.txt", "data_prep.fma", SETTINGS)
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_settings_are_named(tmp_path, content):
  (tmp_path / "preparation.json").write_text(content)
  with pytest.raises(UserError, match=r"preparation\.json .*; delete it"):
    claim_folder(tmp_path, "data_prep.fma", SETTINGS)


def test_fingerprint_tells_lists_apart():
  lists = [["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], ["a\udcffb"]]
  assert len({fingerprint(names) for names in lists}) == len(lists)


class Touch:
  """A job that makes a file, once it is alone."""

  def __init__(self, file):
    self.file = file

  def is_finished(self):
    return self.file.exists()

  def run(self):
    with pytest.raises(LockError):
      run_jobs(self.file.parent, [Touch(self.file)], 1, "", 0)
    self.file.touch()


def test_two_preparations_of_one_folder_do_not_meet(tmp_path):
  jobs = [Touch(tmp_path / "a"), Touch(tmp_path / "b")]
  jobs[0].file.touch()
  assert run_jobs(tmp_path, jobs, 1, "files", 0) == 1
  assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
  with FolderLock(tmp_path):  # nothing is left to do, so nobody is in the way
    assert run_jobs(tmp_path, jobs, 1, "files", 0) == 2
