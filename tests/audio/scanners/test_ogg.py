import pytest

from mixit_jax.audio.scanners import ogg

FIRST, LATER, LAST = 2, 0, 4


def pages(*flags):
  return b"".join(b"OggS\0" + bytes([flag]) + b"payload" for flag in flags)


@pytest.mark.parametrize(
  ("flags", "chained"),
  [
    ((), False),
    ((FIRST, LATER, LAST), False),
    ((FIRST, FIRST, LATER, LATER, LAST, LAST), False),
    ((FIRST, LATER, LAST, FIRST, LATER, LAST), True),
    ((FIRST, LAST, FIRST | LAST), True),
  ],
)
def test_streams_are_chained_when_one_starts_after_another_has_begun(flags, chained):
  assert ogg.is_chained(pages(*flags)) is chained


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_written_files_are_not_chained_until_they_are_joined(encode, tone, suffix):
  content = encode(tone(440, 48_000), 48_000, suffix)
  assert not ogg.is_chained(content)
  assert ogg.is_chained(content + content)
