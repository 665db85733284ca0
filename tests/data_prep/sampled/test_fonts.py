import pytest

from data_prep.sampled import fonts
from data_prep.sampled.fonts import find_fonts
from mixit_jax.errors import UserError

HEAD = b"RIFF\x04\x00\x00\x00sfbk"


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setattr(fonts, "FOLDERS", (tmp_path,))
  (tmp_path / "a.sf2").write_bytes(HEAD)
  (tmp_path / "b.sf3").write_bytes(HEAD)
  (tmp_path / "text.sf2").write_text("no font")
  return tmp_path


def test_fonts_are_found_by_name_and_by_path(folder):
  found = find_fonts("--fonts", f"{folder / 'b.sf3'}, a.sf2")
  assert found == [folder / "b.sf3", folder / "a.sf2"]


@pytest.mark.parametrize(
  ("names", "message"),
  [
    ("TimGM6mb.sf2", "--fonts: no sound font TimGM6mb.sf2; apt install timgm6mb-"),
    ("a.sf2,mine.sf2", "no sound font mine.sf2; name another one"),
    ("text.sf2", r"text.sf2 is no sound font \(SF2 or SF3\)"),
    (" , ", "names no sound font"),
  ],
)
def test_what_is_no_font_is_an_error_that_says_what_to_do(folder, names, message):
  with pytest.raises(UserError, match=message):
    find_fonts("--fonts", names)
