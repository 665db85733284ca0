"""Optional libraries that are absent, or installed but broken."""

import sys

import pytest

from data_prep import engine
from mixit_jax.audio.decoding import decode
from mixit_jax.errors import UserError
from mixit_jax.weights.torch_config import read_merged_config
from mixit_jax.weights.torch_files import read_torch_file

# By the library: the extra that installs it, and what needs it of a file.
NEEDED = {
  "av": ("formats", decode),
  "dask": ("prep", lambda _: engine.run(abs, [1, 2], workers=2, label="x")),
  "torch": ("torch", read_torch_file),
  "yaml": ("torch", read_merged_config),
}


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("library", NEEDED)
def test_what_is_wrong_with_a_library_is_said(library, broken, tmp_path, monkeypatch):
  for name in [name for name in sys.modules if name.split(".")[0] == library]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.delitem(sys.modules, "data_prep.cluster", raising=False)
  if broken:
    (tmp_path / f"{library}.py").write_text("raise ImportError('libx.so: not found')")
    monkeypatch.syspath_prepend(tmp_path)
  else:
    monkeypatch.setitem(sys.modules, library, None)
  file = tmp_path / "file.m4a"
  file.write_bytes(b"\0nothing that is known")
  extra, use = NEEDED[library]
  with pytest.raises(UserError) as raised:
    use(file)
  text = str(raised.value)
  assert "\n" not in text
  install = f"pip install 'mixit-jax[{extra}]'"
  assert ("installed but broken: libx.so: not found" if broken else install) in text
