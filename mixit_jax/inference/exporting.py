"""Folders of weights to pass on: configuration, tensors and a model card."""

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path

from mixit_jax.files import check_vacant, new_folder, sha256
from mixit_jax.inference.card_scores import card_scores
from mixit_jax.lock import FolderLock
from mixit_jax.version import __version__
from mixit_jax.weights import provenance
from mixit_jax.weights.card import model_card
from mixit_jax.weights.folder import Weights, save_weights
from mixit_jax.weights.runs import read_weights

CARD_FILE = "README.md"


def export(
  run: str | Path,
  out: str | Path,
  which: str = "mean",
  tensor_format: str = "safetensors",
  training_data: str = "",
  license: str = "",
  scores: str | Path | None = None,
) -> Weights:
  """Write the weights of a run as a self-contained folder.

  `mixit_jax.load` and all commands read it in every format. The tensors of "torch"
  are a state dict with all keys of the paper's published files.

  Args:
    run: working directory of a run, or a folder of weights.
    out: folder to create.
    which: weights of a run, see `read_weights`.
    tensor_format: "safetensors", "orbax" or "torch".
    training_data: text for the card; by default the data sets of the run and of what
      it started from.
    license: text for the card; by default that of the folder of weights, if any.
    scores: document of `mixit-jax evaluate --json` for the card.

  Returns:
    the weights that were written.

  Raises:
    UserError: the run has no such weights, the folder already holds files, or PyTorch
      is needed and not installed.
  """
  run, out = Path(run), Path(out)
  check_vacant(out)
  weights = read_weights(run, which)
  stated: Sequence[str] = [training_data] if training_data else ()
  stages = provenance.card_stages(weights.card)
  card = {
    **weights.card,
    "training_data": list(stated or provenance.training_data(stages)),
    "stages": stages,
    **({"scores": card_scores(Path(scores))} if scores else {}),
    "license": license or weights.card.get("license"),
    "exported": datetime.date.today().isoformat(),
    "version": __version__,
  }
  weights = dataclasses.replace(weights, card=card)
  write_model(out, weights, tensor_format)
  return weights


def write_model(out: Path, weights: Weights, tensor_format: str) -> None:
  """Write weights with a model card, atomically.

  Raises:
    UserError: the format is unknown, `new_folder` fails, or another process writes the
      same folder.
  """
  target = out.resolve()
  lock = FolderLock(target.parent, f".{target.name}.owner")
  with lock, new_folder(out) as folder:
    tensors = save_weights(folder, weights, tensor_format)
    files = sorted(tensors.rglob("*")) if tensors.is_dir() else [tensors]
    digests = {
      file.relative_to(folder).as_posix(): sha256(file)
      for file in files
      if file.is_file()
    }
    (folder / CARD_FILE).write_text(model_card(weights, digests), "utf-8")
