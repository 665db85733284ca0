"""Errors that the user can mend."""


class UserError(Exception):
  """A problem that the user can mend.

  The commands show its message as one line, without a traceback, and exit with
  a non-zero status. The message names the file, key or step, what was expected,
  what was found and what to do.
  """


def one_line(error: BaseException) -> str:
  """The message of an error in one line; its kind where it has none."""
  return " ".join(str(error).split()) or type(error).__name__
