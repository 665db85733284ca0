"""Errors that a user can repair."""


class UserError(Exception):
  """A problem that the user can repair.

  The commands show its message as one line, without a traceback, and exit with
  a non-zero status. The message names the file, key or step, what was expected,
  what was found and what to do.
  """


class ConfigError(UserError):
  """A configuration key or value that cannot be used."""


def one_line(error: BaseException) -> str:
  """Return the message of an error in one line, or its kind where it has none."""
  return " ".join(str(error).split()) or type(error).__name__
