"""The limit on open files, and naming it where it is the cause."""

import errno
import os

from mixit_jax.errors import UserError

# Shards that a process keeps open, and the least that this needs of the limit.
_MOST_READERS, _FEWEST_READERS = 512, 4
# Files that other threads may have closed since an error.
_SPARE = 16


class OpenFilesError(UserError):
  """This process has no file descriptor left."""


def open_files_limit() -> int:
  """Return how many files this process may have open."""
  try:
    import resource
  except ImportError:  # Windows
    return 512
  soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
  return soft if soft != resource.RLIM_INFINITY else 1 << 20


def most_readers() -> int:
  """Return how many shards may be open at a time: a quarter of the limit at most."""
  return max(_FEWEST_READERS, min(_MOST_READERS, open_files_limit() // 4))


def raise_if_full(error: BaseException) -> None:
  """Raise an OpenFilesError if the limit on open files can be what has failed.

  Libraries hide the reason in texts of their own; where they do not tell it, opening
  some files is tried.
  """
  full = (errno.EMFILE, errno.ENFILE)
  told = any(os.strerror(code).lower() in str(error).lower() for code in full)
  if not told and getattr(error, "errno", None) not in full and not _is_nearly_full():
    return
  raise OpenFilesError(
    f"no file can be opened any more: this process has {open_files_limit()} open, as"
    " many as it may; raise the limit (such as ulimit -n 4096) and start again"
  ) from error


def _is_nearly_full() -> bool:
  """Tell whether this process can open only a few more files, or none."""
  opened: list[int] = []
  try:
    for _ in range(_SPARE):
      opened.append(os.open(os.devnull, os.O_RDONLY))
  except OSError as error:
    return error.errno in (errno.EMFILE, errno.ENFILE)
  finally:
    for file in opened:
      os.close(file)
  return False
