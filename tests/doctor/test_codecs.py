import importlib.util

import numpy as np
import pytest

from mixit_jax.audio.decoding import AudioError
from mixit_jax.doctor import codecs
from mixit_jax.errors import UserError


def test_common_formats_are_decoded():
  assert codecs.common_formats().startswith("wav, flac, mp3, ogg, opus, aiff")


def test_further_formats_are_decoded_where_pyav_is():
  pytest.importorskip("av")
  assert "m4a, aac" in codecs.further_formats()


def test_an_absent_extra_is_named_and_is_no_failure(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  line = codecs.further_formats()
  assert line.startswith("absent; m4a, aac")
  assert "mixit-jax[formats]" in line


def test_formats_that_cannot_be_decoded_are_named_with_what_to_do(monkeypatch):
  decode = codecs.decode

  def without_mp3(content, name):
    if name == "mp3":
      raise AudioError("mp3", "no decoder")
    return decode(content, name)

  monkeypatch.setattr(codecs, "decode", without_mp3)
  with pytest.raises(UserError, match=r"mp3: no decoder.*--force-reinstall") as error:
    codecs.common_formats()
  assert "flac" not in str(error.value)


@pytest.mark.parametrize(
  "spoil",
  [
    lambda audio, rate: (0 * audio, rate),
    lambda audio, rate: (0.5 * audio, rate),
    lambda audio, rate: (audio[::-1], rate),
    lambda audio, rate: (audio[:1], rate),
    lambda audio, rate: (audio[:, : rate // 4], rate),
    lambda audio, rate: (audio, 2 * rate),
    lambda audio, rate: (np.repeat(audio, 2, axis=1)[:, : audio.shape[1]], rate),
  ],
)
def test_what_is_decoded_wrongly_is_not_taken_for_decoded(spoil):
  rate = 44100
  codecs._check((codecs._tone(rate), rate), rate)
  with pytest.raises(UserError):
    codecs._check(spoil(codecs._tone(rate), rate), rate)
