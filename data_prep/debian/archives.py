"""Where the files of a package are: installed, in an archive, or to be downloaded."""

import shutil
import subprocess
from pathlib import Path

from mixit_jax.errors import UserError

ROOT = Path("/")


class UnavailableError(UserError):
  """A package can be had in no way."""


def unpack(name: str, folder: str, archives: Path, out: Path) -> tuple[Path, str]:
  """Find a package where it is installed or among archives, or download it.

  Args:
    name: its name.
    folder: of its music; where that is installed, nothing is unpacked.
    archives: folder of archives NAME_VERSION_ARCHITECTURE.deb, also of downloaded ones.
    out: where to unpack it.

  Returns:
    the folder that holds its files as the root of a system does, and its version.

  Raises:
    UnavailableError: the message says why, in one line.
    UserError: the archive is damaged.
  """
  if (ROOT / folder).is_dir():
    return ROOT, _installed_version(name)
  if not list(archives.glob(f"{name}_*.deb")):
    _download(name, archives)
  archive = max(archives.glob(f"{name}_*.deb"))
  try:
    _run("dpkg-deb", "--extract", str(archive), str(out))
    return out, _run("dpkg-deb", "--field", str(archive), "Version")
  except FileNotFoundError as error:
    raise UnavailableError("the program dpkg-deb is not installed") from error
  except _FailedError as error:
    raise UserError(f"{archive}: is damaged ({error}); delete it") from error


def _installed_version(name: str) -> str:
  try:
    return _run("dpkg-query", "--show", "--showformat=${Version}", name)
  except (_FailedError, FileNotFoundError):
    return "unknown"  # installed, but not by dpkg


def _download(name: str, archives: Path) -> None:
  """Download an archive as any user can; it appears whole or not at all."""
  unfinished = archives / f".{name}.tmp"
  shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
  unfinished.mkdir(parents=True)
  try:
    _run("apt-get", "--quiet=2", "download", name, cwd=unfinished)
    for path in unfinished.glob("*.deb"):
      path.replace(archives / path.name)
  except FileNotFoundError as error:
    raise UnavailableError("is not installed, and there is no apt-get") from error
  except _FailedError as error:
    raise UnavailableError(
      f"is not installed, and apt-get download failed: {error}"
    ) from error
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)


class _FailedError(Exception):
  """A command failed; the message is what it said."""


def _run(*command: str, cwd: Path | None = None) -> str:
  """Run a command and return what it prints."""
  result = subprocess.run(
    command,
    cwd=cwd,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    errors="replace",
    check=False,
  )
  if result.returncode:
    raise _FailedError(" ".join(result.stderr.split()) or f"{command[0]} failed")
  return result.stdout.strip()
