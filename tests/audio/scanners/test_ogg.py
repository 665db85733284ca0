import re

import pytest

from mixit_jax.audio.scanners import ogg

FIRST, LATER, LAST = 2, 0, 4


def split(content):
  """The pages of a file."""
  starts = [match.start() for match in re.finditer(b"OggS", content)]
  return [content[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]


@pytest.fixture(params=[".ogg", ".opus"])
def pages(request, encode, tone):
  return split(encode(tone(440, 48_000, seconds=6), 48_000, request.param))


def test_written_files_are_whole(pages):
  assert ogg.scan(b"".join(pages)) == (False, None, True)
  assert ogg.scan(b"garbage".join(pages)) == (False, None, True)


def test_streams_are_chained_when_one_starts_after_another_has_begun(pages):
  assert ogg.scan(b"".join(pages + pages)).chained
  # Side by side, as sound and picture: here under another number of the stream.
  header = pages[0][:14] + b"\1\2\3\4" + pages[0][18:]
  crc = ogg._checksum(header).to_bytes(4, "little")
  other = header[:22] + crc + header[26:]
  assert not ogg.scan(b"".join([pages[0], other, *pages[1:]])).chained


def test_a_lost_or_changed_page_ends_what_is_sound(pages):
  position = int.from_bytes(pages[3][6:14], "little")
  assert ogg.scan(b"".join(pages[:4] + pages[5:])).sound == position
  changed = pages[4][:-1] + bytes([pages[4][-1] ^ 1])
  assert ogg.scan(b"".join([*pages[:4], changed, *pages[5:]])).sound == position


def test_a_file_without_its_last_page_has_not_ended(pages):
  assert ogg.scan(b"".join(pages[:-1])) == (False, None, False)


def test_what_is_no_ogg_file_has_no_pages():
  for content in (b"", b"OggS", b"OggS" * 1000, bytes(1000)):
    assert ogg.scan(content) == (False, None, True)
