"""Ogg files that hold several streams one after another.

libsndfile decodes the first of them and silently ignores the others.
"""

import mmap
import re

# A page: its capture pattern, the version 0 and its flags (RFC 3533, section 6).
_PAGE = re.compile(rb"OggS\0([\0-\x07])", re.DOTALL)
_FIRST = 2  # flag of the first page of a stream


def is_chained(data: bytes | mmap.mmap) -> bool:
  """Tell whether a stream starts after another one has begun to deliver.

  Streams that run side by side all start at the start of the file.

  Args:
    data: content of an Ogg file.

  Returns:
    True where a first page follows a page that is not one.
  """
  delivering = False
  for page in _PAGE.finditer(data):
    first = bool(page[1][0] & _FIRST)
    if first and delivering:
      return True
    delivering = delivering or not first
  return False
