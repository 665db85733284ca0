"""What is wrong with an audio file: errors that name it, its fault and the time."""

from pathlib import Path

from mixit_jax.errors import UserError

REMEDY = "get another copy"


class AudioError(UserError):
  """An audio file that cannot be read, used or written.

  Attributes:
    file: how the file is named.
    reason: what is wrong with it, in one line.
  """

  def __init__(self, file: Path | str, reason: str):
    super().__init__(str(file), reason)  # both, so that it can be pickled
    self.file = str(file)
    self.reason = reason

  def __str__(self) -> str:
    return f"{self.file}: {self.reason}"


class DamagedAudioError(AudioError):
  """An audio file that is sound up to some point only.

  Attributes:
    seconds: how much of it is sound.
  """

  def __init__(self, file: Path | str, reason: str, seconds: float):
    super().__init__(file, reason)
    self.args = (str(file), reason, seconds)
    self.seconds = seconds


def damaged(file: str, what: str, seconds: float) -> DamagedAudioError:
  """Say what is wrong from a time [s] on."""
  place = f"after {seconds:.1f} s" if seconds >= 0.05 else "from its start"
  return DamagedAudioError(file, f"damaged {place}: {what}; {REMEDY}", seconds)


def reason_of(error: Exception) -> str:
  """Return in one line what went wrong, without the name of the file."""
  text = getattr(error, "error_string", None) or getattr(error, "strerror", None)
  return " ".join(str(text or error).split())
