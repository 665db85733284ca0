"""Files of PyTorch weights: the only module that needs PyTorch."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mixit_jax.errors import UserError, missing_extra
from mixit_jax.files import replacing


def read_torch_file(path: str | Path) -> Mapping[str, Any]:
  """Read a `.pth` or `.ckpt` file without executing anything in it.

  Args:
    path: file that torch.save wrote.

  Returns:
    its content, for `torch_weights.from_torch`: a state dict, or a Lightning
    checkpoint that holds one as `state_dict`.

  Raises:
    UserError: PyTorch does not work, or the file is missing, damaged or holds
      Python objects besides tensors and plain values.
  """
  path = Path(path)
  torch = _torch(path)
  if not path.is_file():
    raise UserError(f"{path}: no such file")
  _check_archive(path)
  try:
    with warnings.catch_warnings(action="ignore"):
      content = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # a damaged file can raise any error
    # Both refusals, of a forbidden and of an unknown class, name it like this.
    refused = re.search(r"GLOBAL ([\w.]+)", str(error))
    if refused:
      raise UserError(
        f"{path} holds a Python object ({refused[1]}), which could run code when"
        " loaded, and is refused: if you trust it, save only its state_dict"
      ) from error
    raise UserError(
      f"{path} is damaged or not a PyTorch file ({type(error).__name__}): get it again"
    ) from error
  if not isinstance(content, Mapping):
    raise UserError(
      f"{path}: expected a state dict, found an object of type"
      f" {type(content).__name__}: save model.state_dict() instead"
    )
  return content


def write_torch_file(path: str | Path, state_dict: Mapping[str, np.ndarray]) -> None:
  """Write a state dict as torch.save does, atomically.

  Args:
    path: file to write; its folder is created.
    state_dict: arrays by key, as `torch_weights.to_torch` gives them.

  Raises:
    UserError: PyTorch is not installed, or does not work.
  """
  path = Path(path)
  torch = _torch(path)
  tensors = {key: torch.tensor(array) for key, array in state_dict.items()}
  with replacing(path) as temporary:
    torch.save(tensors, temporary)


def _torch(path: Path) -> ModuleType:
  try:
    import torch
  except ImportError as error:
    purpose = f"{path}: PyTorch files"
    raise UserError(missing_extra(error, "torch", "torch", purpose)) from error
  return torch


def _check_archive(path: Path) -> None:
  """Verify the checksums of an archive, which torch.load ignores."""
  if not zipfile.is_zipfile(path):
    return  # older format, without checksums
  try:
    with zipfile.ZipFile(path) as archive:
      # All are zero in a file that was written without checksums.
      if not any(member.CRC for member in archive.infolist()):
        return
      damaged = archive.testzip()
  except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
    raise UserError(f"{path} is damaged ({error}): get it again") from error
  if damaged:
    raise UserError(f"{path} is damaged (checksum of {damaged}): get it again")
