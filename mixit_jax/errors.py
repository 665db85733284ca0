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


def missing_extra(error: ImportError, module: str, extra: str, purpose: str) -> str:
  """Say what to do about an optional library that cannot be imported.

  Args:
    error: what its import raised.
    module: name of the library.
    extra: the extra of this package that installs it.
    purpose: what needs it.
  """
  absent = isinstance(error, ModuleNotFoundError) and (error.name or "")
  if absent and absent.partition(".")[0] == module:
    return f"{purpose} need: pip install 'mixit-jax[{extra}]'"
  return f"{purpose} need {module}, which is installed but broken: {one_line(error)}"
