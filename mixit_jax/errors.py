"""Errors that the user can mend."""


class UserError(Exception):
  """A problem that the user can mend.

  The commands show its message as one line, without a traceback, and exit with
  a non-zero status. The message names the file, key or step, what was expected,
  what was found and what to do.
  """
