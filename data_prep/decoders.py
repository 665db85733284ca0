"""Which decoders are at hand: another one may read what these could not."""

import functools
import importlib.metadata
import importlib.util

import soundfile


@functools.cache
def decoder_versions() -> str:
  """Name the libraries that decode audio here, with their versions."""
  own = f"libsndfile {soundfile.__libsndfile_version__}"
  if importlib.util.find_spec("av") is None:
    return own
  try:
    return f"{own}, PyAV {importlib.metadata.version('av')}"
  except importlib.metadata.PackageNotFoundError:
    return f"{own}, PyAV"
